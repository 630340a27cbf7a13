# A control for the suite perf. _start calls main, main calls middle, middle calls leaf, and leaf counts down. With
# --defsym FRAMES=1 each function keeps the frame pointer. Without it %rbp is an ordinary register, as with
# -fomit-frame-pointer.
.macro function name
    .globl \name
    .type \name, @function
\name:
.endm
.macro enter
.ifdef FRAMES
    push %rbp
    mov %rsp, %rbp
.else
    push %rbx
    mov $1, %ebp
.endif
.endm
.macro leave_and_return
.ifdef FRAMES
    pop %rbp
.else
    pop %rbx
.endif
    ret
.endm

function _start
    xor %ebp, %ebp
    call main
    xor %edi, %edi
    mov $60, %eax
    syscall
function main
    enter
    call middle
    leave_and_return
function middle
    enter
    call leaf
    leave_and_return
function leaf
    enter
    mov $300000000, %eax
.Lagain:
    dec %eax
    jnz .Lagain
    leave_and_return
