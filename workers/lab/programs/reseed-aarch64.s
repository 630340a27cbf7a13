// The 64 characters on standard input go into the kernel's random numbers as 256 bits of entropy, and are taken into use at
// once: ioctl(open("/dev/urandom"), RNDADDENTROPY, {256, 64, seed}), then RNDRESEEDCRNG (linux/random.h). Exit 1: one failed.
.globl _start
_start: mov x8, #63                // read(0, seed, 64)
    mov x0, #0
    ldr x1, =seed
    mov x2, #64
    svc #0
    mov x8, #56                    // openat(AT_FDCWD, name, O_WRONLY)
    mov x0, #-100
    ldr x1, =name
    mov x2, #1
    svc #0
    mov x19, x0
    ldr x1, =0x40085203
    ldr x2, =pool
    mov x8, #29
    svc #0
    mov x20, x0
    mov x0, x19
    mov x1, #0x5207
    mov x8, #29
    svc #0
    orr x0, x0, x20
    lsr x0, x0, #63
    mov x8, #93
    svc #0
name: .asciz "/dev/urandom"
.data
.balign 8
pool: .long 256, 64
seed: .fill 64
