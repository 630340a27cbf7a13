// A control for the suite perf. _start calls main, main calls middle, middle calls leaf, and leaf counts down. With
// --defsym FRAMES=1 each function keeps the frame pointer. Without it x29 is an ordinary register, as with
// -fomit-frame-pointer.
.macro function name
    .globl \name
    .type \name, @function
\name:
.endm
.macro enter
.ifdef FRAMES
    stp x29, x30, [sp, #-16]!
    mov x29, sp
.else
    str x30, [sp, #-16]!
    mov x29, #1
.endif
.endm
.macro leave_and_return
.ifdef FRAMES
    ldp x29, x30, [sp], #16
.else
    ldr x30, [sp], #16
.endif
    ret
.endm

function _start
    mov x29, #0
    bl main
    mov x0, #0
    mov x8, #93
    svc #0
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
    ldr x0, =300000000
.Lagain:
    subs x0, x0, #1
    b.ne .Lagain
    leave_and_return
