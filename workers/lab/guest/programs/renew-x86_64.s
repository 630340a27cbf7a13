# Sets the clock and the random numbers of a restored guest, which would otherwise be the same in all guests that are
# restored from one state. Standard input: 64 characters of entropy, a blank, the seconds since 1970, a newline.
# The program sets the clock (clock_settime). It adds the 64 characters to the kernel's random numbers as 256 bits of
# entropy, and makes the kernel use them at once: ioctl(open("/dev/urandom"), RNDADDENTROPY, {256, 64, seed}), then
# RNDRESEEDCRNG (linux/random.h). Exit status 1: a call failed. It is one small program, because each further program
# would delay a restored guest.
.globl _start
_start: xor %eax, %eax             # read(0, seed, 96)
    xor %edi, %edi
    lea seed(%rip), %rsi
    mov $96, %edx
    syscall
    lea now(%rip), %rsi            # decimal at now → rbx
    xor %ebx, %ebx
digit: movzbl (%rsi), %eax
    sub $'0', %eax
    cmp $9, %eax
    ja set
    imul $10, %rbx
    add %rax, %rbx
    inc %rsi
    jmp digit
set: lea time(%rip), %rsi          # clock_settime(CLOCK_REALTIME, time)
    mov %rbx, (%rsi)
    xor %edi, %edi
    mov $227, %eax
    syscall
    mov %eax, %r13d
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
    or %eax, %r13d
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
time: .quad 0, 0
pool: .long 256, 64
seed: .fill 65
now: .fill 31
