# A control for the suite perf. _start calls main, main calls middle, middle calls leaf, and leaf counts down. With
# --defsym FRAMES=1 each function keeps the back chain, as the ABI requires (ELF V2 ABI, 2.2.2.1). Without it
# a function makes its frame without a link to the frame of its caller.
.abiversion 2
.macro function name
    .globl \name
    .type \name, @function
\name:
.endm
.macro enter
    mflr 0
    std 0, 16(1)
.ifdef FRAMES
    stdu 1, -32(1)
.else
    addi 1, 1, -32
    li 0, 1
    std 0, 0(1)
.endif
.endm
.macro leave_and_return
    addi 1, 1, 32
    ld 0, 16(1)
    mtlr 0
    blr
.endm

function _start
    li 0, 0
    stdu 0, -32(1)
    bl main
    li 3, 0
    li 0, 1
    sc
function main
    enter
    bl middle
    leave_and_return
function middle
    enter
    bl leaf
    leave_and_return
function leaf
    enter
    lis 3, 300000000@h
    ori 3, 3, 300000000@l
    mtctr 3
.Lagain:
    bdnz .Lagain
    leave_and_return
