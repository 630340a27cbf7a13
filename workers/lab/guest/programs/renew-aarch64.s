// Sets the clock and the random numbers of a restored guest, which would otherwise be the same in all guests that are
// restored from one state. Standard input: 64 characters of entropy, a blank, the seconds since 1970, a newline.
// The program sets the clock (clock_settime). It adds the 64 characters to the kernel's random numbers as 256 bits of
// entropy, and makes the kernel use them at once: ioctl(open("/dev/urandom"), RNDADDENTROPY, {256, 64, seed}), then
// RNDRESEEDCRNG (linux/random.h). Exit status 1: a call failed. It is one small program, because each further program
// would delay a restored guest.
.globl _start
_start: mov x8, #63                // read(0, seed, 96)
    mov x0, #0
    ldr x1, =seed
    mov x2, #96
    svc #0
    ldr x1, =now                   // decimal at now → x3
    mov x3, #0
    mov x4, #10
digit: ldrb w0, [x1], #1
    sub w0, w0, #'0'
    cmp w0, #9
    b.hi set
    madd x3, x3, x4, x0
    b digit
set: ldr x1, =time                 // clock_settime(CLOCK_REALTIME, time)
    str x3, [x1]
    mov x0, #0
    mov x8, #112
    svc #0
    mov x20, x0
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
    orr x20, x20, x0
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
time: .quad 0, 0
pool: .long 256, 64
seed: .fill 65
now: .fill 31
