# open("/dev/urandom", O_WRONLY); exit(ioctl(.., RNDRESEEDCRNG) < 0)     (linux/random.h)
.globl _start
_start: mov $2, %eax
    lea name(%rip), %rdi
    mov $1, %esi
    syscall
    mov %eax, %edi
    mov $0x5207, %esi
    mov $16, %eax
    syscall
    mov %eax, %edi
    shr $31, %edi
    mov $60, %eax
    syscall
name: .asciz "/dev/urandom"
