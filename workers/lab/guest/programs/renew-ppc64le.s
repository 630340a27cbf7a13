# Sets the clock and the random numbers of a restored guest, which would otherwise be the same in all guests that are
# restored from one state. Standard input: 64 characters of entropy, a blank, the seconds since 1970, a newline.
# The program sets the clock (clock_settime). It adds the 64 characters to the kernel's random numbers as 256 bits of
# entropy, and makes the kernel use them at once: ioctl(open("/dev/urandom"), RNDADDENTROPY, {256, 64, seed}), then
# RNDRESEEDCRNG (linux/random.h). Exit status 1: a call failed. It is one small program, because each further program
# would delay a restored guest.
# The direction bits of ioctl numbers differ on this architecture.
# A saved state of QEMU 7.2 does not restore an armed decrementer. The kernel, which believes that it is armed, arms it
# again only for an earlier timer, so no timer would expire. So the program sets a timer that is already due:
# clock_nanosleep with TIMER_ABSTIME.
.abiversion 2
.globl _start
_start: bcl 20, 31, here
here: mflr 14
    addis 14, 14, pool - here@ha
    addi 14, 14, pool - here@l     # r14: pool
    li 3, 1                        # clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, past, 0)
    li 4, 1
    addi 5, 14, past - pool
    li 6, 0
    li 0, 248
    sc
    bso failed
    li 3, 0                        # read(0, seed, 96)
    addi 4, 14, 8
    li 5, 96
    li 0, 3
    sc
    addi 4, 14, now - pool - 1     # decimal at now → r6
    li 6, 0
digit: lbzu 5, 1(4)
    addi 5, 5, -'0'
    cmplwi 5, 9
    bgt set
    mulli 6, 6, 10
    add 6, 6, 5
    b digit
set: addi 4, 14, time - pool       # clock_settime(CLOCK_REALTIME, time)
    std 6, 0(4)
    li 3, 0
    li 0, 245
    sc
    bso failed
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
seed: .fill 65
now: .fill 31
time: .quad 0, 0
past: .quad 0, 1
name: .asciz "/dev/urandom"
