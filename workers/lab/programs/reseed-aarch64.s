// openat(AT_FDCWD, "/dev/urandom", O_WRONLY); exit(ioctl(.., RNDRESEEDCRNG) < 0)     (linux/random.h)
.globl _start
_start: mov x8, #56
    mov x0, #-100
    adr x1, name
    mov x2, #1
    svc #0
    mov x1, #0x5207
    mov x8, #29
    svc #0
    lsr x0, x0, #63
    mov x8, #93
    svc #0
name: .asciz "/dev/urandom"
