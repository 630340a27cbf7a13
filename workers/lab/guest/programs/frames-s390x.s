# A control for the suite perf. _start calls main, main calls middle, middle calls leaf, and leaf counts down. With
# --defsym FRAMES=1 each function keeps the back chain, as with -mbackchain. Without it a function makes its
# frame without a link to the frame of its caller.
.macro function name
    .globl \name
    .type \name, @function
\name:
.endm
.macro enter
    stmg %r14, %r15, 112(%r15)
.ifdef FRAMES
    lgr %r1, %r15
    aghi %r15, -160
    stg %r1, 0(%r15)
.else
    aghi %r15, -160
    mvghi 0(%r15), 1
.endif
.endm
.macro leave_and_return
    lmg %r14, %r15, 272(%r15)
    br %r14
.endm

.machine z14
function _start
    aghi %r15, -160
    mvghi 0(%r15), 0
    brasl %r14, main
    lghi %r2, 0
    svc 1
function main
    enter
    brasl %r14, middle
    leave_and_return
function middle
    enter
    brasl %r14, leaf
    leave_and_return
function leaf
    enter
    llilf %r1, 300000000
.Lagain:
    brctg %r1, .Lagain
    leave_and_return
