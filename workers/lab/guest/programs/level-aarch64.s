// One instruction of a feature; --defsym NAME=1 selects the feature. Exit status: 0 if the result is the one in the
// manual, 1 if it is another. A processor without the feature raises an undefined-instruction exception: SIGILL.
.arch armv8.6-a+crypto+fp16
.globl _start
_start:

.ifdef FP_SIMD
    movi v0.4s, #3
    addv s0, v0.4s
    fmov w0, s0
    cmp w0, #12
    b.ne wrong
    fmov d0, #2.0
    fmadd d0, d0, d0, d0
    fcvtzs w0, d0
    cmp w0, #6
.endif
.ifdef EXCLUSIVES
    mov x1, sp
    sub x1, x1, #16
    str xzr, [x1]
again:
    ldaxr x0, [x1]
    add x0, x0, #1
    stlxr w2, x0, [x1]
    cbnz w2, again
    ldr x0, [x1]
    cmp x0, #1
.endif

.ifdef CRC32
    mov w0, wzr
    mov w1, #1
    crc32cw w0, w0, w1
    ldr w1, =0xdd45aab8             // CRC-32C of 1, without inversions
    cmp w0, w1
.endif
.ifdef AES
    movi v0.16b, #0
    aesmc v0.16b, v0.16b
    fmov w0, s0
    cmp w0, #0
.endif
.ifdef LSE
    mov x1, sp
    sub x1, x1, #16
    str xzr, [x1]
    mov x0, #1
    ldaddal x0, x2, [x1]
    ldr x0, [x1]
    cmp x0, #1
.endif
.ifdef RDM
    movi v0.4h, #0x40, lsl #8
    sqrdmlah v0.4h, v0.4h, v0.4h    // 0.5 + 0.5 * 0.5 = 0.75
    umov w0, v0.h[0]
    mov w1, #0x6000
    cmp w0, w1
.endif
.ifdef FP16
    fmov h0, #1.0
    fadd h0, h0, h0
    fcvtzs w0, h0
    cmp w0, #2
.endif
.ifdef LRCPC
    mov x1, sp
    sub x1, x1, #16
    mov x0, #5
    str x0, [x1]
    ldapr x0, [x1]
    cmp x0, #5
.endif
.ifdef DOTPROD
    movi v0.8b, #2
    movi v1.8b, #0
    udot v1.2s, v0.8b, v0.8b
    fmov w0, s1
    cmp w0, #16
.endif

    b.ne wrong
    mov x0, #0
    b done
wrong: mov x0, #1
done: mov x8, #93
    svc #0
