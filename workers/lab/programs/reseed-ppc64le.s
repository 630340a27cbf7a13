# The 64 characters on standard input go into the kernel's random numbers as 256 bits of entropy, and are taken into use at
# once: ioctl(open("/dev/urandom"), RNDADDENTROPY, {256, 64, seed}), then RNDRESEEDCRNG (linux/random.h; the numbers of
# ioctls have other directions here). Exit 1: one failed.
.abiversion 2
.globl _start
_start: bcl 20, 31, here
here: mflr 14
    addis 14, 14, pool - here@ha
    addi 14, 14, pool - here@l     # r14: pool
    li 3, 0                        # read(0, seed, 64)
    addi 4, 14, 8
    li 5, 64
    li 0, 3
    sc
    addi 3, 14, name - pool        # open(name, O_WRONLY)
    li 4, 1
    li 0, 5
    sc
    mr 15, 3
    lis 4, 0x8008
    ori 4, 4, 0x5203
    mr 5, 14
    li 0, 54
    sc
    bso failed
    mr 3, 15
    lis 4, 0x2000
    ori 4, 4, 0x5207
    li 0, 54
    sc
    li 3, 0
    bns done
failed: li 3, 1
done: li 0, 1
    sc
.data
.balign 8
pool: .long 256, 64
seed: .fill 64
name: .asciz "/dev/urandom"
