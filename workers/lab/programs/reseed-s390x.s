# The 64 characters on standard input go into the kernel's random numbers as 256 bits of entropy, and are taken into use at
# once: ioctl(open("/dev/urandom"), RNDADDENTROPY, {256, 64, seed}), then RNDRESEEDCRNG (linux/random.h). Exit 1: one failed.
.globl _start
_start: lghi %r2, 0                # read(0, seed, 64)
    larl %r3, seed
    lghi %r4, 64
    svc 3
    larl %r2, name                 # open(name, O_WRONLY)
    lghi %r3, 1
    svc 5
    lgr %r8, %r2
    llilf %r3, 0x40085203
    larl %r4, pool
    svc 54
    lgr %r9, %r2
    lgr %r2, %r8
    lghi %r3, 0x5207
    svc 54
    ogr %r2, %r9
    srlg %r2, %r2, 63
    svc 1
.data
.balign 8
pool: .long 256, 64
seed: .fill 64
name: .asciz "/dev/urandom"
