# Sets the clock and the random numbers of a restored guest, which would otherwise be the same in all guests that are
# restored from one state. Standard input: 64 characters of entropy, a blank, the seconds since 1970, a newline.
# The program sets the clock (clock_settime). It adds the 64 characters to the kernel's random numbers as 256 bits of
# entropy, and makes the kernel use them at once: ioctl(open("/dev/urandom"), RNDADDENTROPY, {256, 64, seed}), then
# RNDRESEEDCRNG (linux/random.h). Exit status 1: a call failed. It is one small program, because each further program
# would delay a restored guest.
.globl _start
_start: lghi %r2, 0                # read(0, seed, 96)
    larl %r3, seed
    lghi %r4, 96
    svc 3
    larl %r3, seed                 # decimal behind seed and blank → r7
    aghi %r3, 65
    lghi %r7, 0
digit: llgc %r2, 0(%r3)
    aghi %r2, -'0'
    clgfi %r2, 9
    jh set
    mghi %r7, 10
    agr %r7, %r2
    aghi %r3, 1
    j digit
set: larl %r3, time                # clock_settime(CLOCK_REALTIME, time)
    stg %r7, 0(%r3)
    lghi %r2, 0
    lghi %r1, 259
    svc 0
    lgr %r9, %r2
    larl %r2, name                 # open(name, O_WRONLY)
    lghi %r3, 1
    svc 5
    lgr %r8, %r2
    llilf %r3, 0x40085203
    larl %r4, pool
    svc 54
    ogr %r9, %r2
    lgr %r2, %r8
    lghi %r3, 0x5207
    svc 54
    ogr %r2, %r9
    srlg %r2, %r2, 63
    svc 1
.data
.balign 8
time: .quad 0, 0
pool: .long 256, 64
seed: .fill 96
name: .asciz "/dev/urandom"
