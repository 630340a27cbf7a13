# open("/dev/urandom", O_WRONLY); exit(ioctl(.., RNDRESEEDCRNG) < 0)     (linux/random.h)
.globl _start
_start: larl %r2, name
    lghi %r3, 1
    svc 5
    lghi %r3, 0x5207
    svc 54
    srlg %r2, %r2, 63
    svc 1
    .balign 2
name: .asciz "/dev/urandom"
