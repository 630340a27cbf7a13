# open("/dev/urandom", O_WRONLY); exit(ioctl(.., RNDRESEEDCRNG) failed)     (linux/random.h; _IO has a direction here)
.abiversion 2
.globl _start
_start: bcl 20, 31, here
here: mflr 3
    addi 3, 3, name - here
    li 4, 1
    li 0, 5
    sc
    lis 4, 0x2000
    ori 4, 4, 0x5207
    li 0, 54
    sc
    li 3, 0
    bns+ done
    li 3, 1
done: li 0, 1
    sc
name: .asciz "/dev/urandom"
