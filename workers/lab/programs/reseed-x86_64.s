# The 64 characters on standard input go into the kernel's random numbers as 256 bits of entropy, and are taken into use at
# once: ioctl(open("/dev/urandom"), RNDADDENTROPY, {256, 64, seed}), then RNDRESEEDCRNG (linux/random.h). Exit 1: one failed.
.globl _start
_start: xor %eax, %eax             # read(0, seed, 64)
    xor %edi, %edi
    lea seed(%rip), %rsi
    mov $64, %edx
    syscall
    mov $2, %eax                   # open(name, O_WRONLY)
    lea name(%rip), %rdi
    mov $1, %esi
    syscall
    mov %eax, %r12d
    mov %eax, %edi
    mov $0x40085203, %esi
    lea pool(%rip), %rdx
    mov $16, %eax
    syscall
    mov %eax, %r13d
    mov %r12d, %edi
    mov $0x5207, %esi
    mov $16, %eax
    syscall
    or %r13d, %eax
    mov %eax, %edi
    shr $31, %edi
    mov $60, %eax
    syscall
name: .asciz "/dev/urandom"
.data
.balign 8
pool: .long 256, 64
seed: .fill 64
