# One instruction of a feature; --defsym NAME=1 selects the feature. Exit status: 0 if the result is the one in the
# manual, 1 if it is another. A processor without the feature raises #UD: SIGILL. Three of the
# instructions run there as an older instruction, with a wrong result.
.globl _start
_start:

.ifdef SSE3
    movaps ones(%rip), %xmm0
    haddps %xmm0, %xmm0
    movd %xmm0, %eax
    cmp $0x40000000, %eax           # 1 + 1 = 2
.endif
.ifdef SSSE3
    mov $-5, %eax
    movd %eax, %xmm0
    pabsd %xmm0, %xmm0
    movd %xmm0, %eax
    cmp $5, %eax
.endif
.ifdef SSE4_1
    mov $7, %eax
    pxor %xmm0, %xmm0
    pinsrd $1, %eax, %xmm0
    pextrd $1, %xmm0, %eax
    cmp $7, %eax
.endif
.ifdef SSE4_2
    mov $1, %ecx
    xor %eax, %eax
    crc32l %ecx, %eax
    cmp $0xdd45aab8, %eax           # CRC-32C of 1, without inversions
    jne wrong
    movups text(%rip), %xmm0
    pcmpistri $0, %xmm0, %xmm0      # the first byte equal to any of these
    cmp $0, %ecx
.endif
.ifdef POPCNT
    mov $0xf0f, %eax
    popcnt %eax, %eax
    cmp $8, %eax
.endif
.ifdef CMPXCHG16B
    sub $24, %rsp
    and $-16, %rsp
    movq $1, (%rsp)
    movq $2, 8(%rsp)
    mov $1, %eax
    mov $2, %edx
    mov $3, %ebx
    mov $4, %ecx
    cmpxchg16b (%rsp)
    jne wrong
    cmpq $4, 8(%rsp)
.endif
.ifdef LAHF_SAHF
    mov $0x41, %ah                  # carry and zero
    sahf
    jnc wrong
    lahf
    test $0x40, %ah
    jz wrong
    cmp %eax, %eax
.endif

.ifdef AVX
    vmovaps ones(%rip), %ymm0
    vaddps %ymm0, %ymm0, %ymm0
    vextractf128 $1, %ymm0, %xmm0
    vmovd %xmm0, %eax
    cmp $0x40000000, %eax
.endif
.ifdef AVX2
    vpcmpeqd %ymm0, %ymm0, %ymm0
    vpabsd %ymm0, %ymm0
    vextracti128 $1, %ymm0, %xmm0
    vmovd %xmm0, %eax
    cmp $1, %eax
.endif
.ifdef BMI1
    mov $0xf0, %eax
    mov $0xff, %ecx
    andn %ecx, %eax, %eax           # ~0xf0 & 0xff
    cmp $0x0f, %eax
.endif
.ifdef TZCNT
    xor %ecx, %ecx
    mov $77, %eax
    tzcnt %ecx, %eax                # bsf leaves a destination as it was
    cmp $32, %eax
.endif
.ifdef BMI2
    mov $0x5, %eax
    mov $0x70, %ecx
    pdep %ecx, %eax, %eax
    cmp $0x50, %eax
.endif
.ifdef F16C
    mov $0x3c00, %eax
    vmovd %eax, %xmm0
    vcvtph2ps %xmm0, %xmm0
    vmovd %xmm0, %eax
    cmp $0x3f800000, %eax
.endif
.ifdef FMA
    vmovaps ones(%rip), %ymm0
    vfmadd213ps %ymm0, %ymm0, %ymm0
    vmovd %xmm0, %eax
    cmp $0x40000000, %eax           # 1 * 1 + 1
.endif
.ifdef LZCNT
    mov $1, %ecx
    lzcnt %ecx, %eax                # bsr gives 0
    cmp $31, %eax
.endif
.ifdef MOVBE
    movbe bytes(%rip), %eax
    cmp $0x01020304, %eax
.endif
.ifdef OSXSAVE
    xor %ecx, %ecx
    xgetbv
    and $6, %eax                    # the system keeps XMM and YMM
    cmp $6, %eax
.endif

.ifdef AES
    pxor %xmm0, %xmm0
    aesimc %xmm0, %xmm0
    movd %xmm0, %eax
    cmp $0, %eax
.endif
.ifdef PCLMULQDQ
    mov $3, %eax
    movd %eax, %xmm0
    pclmulqdq $0, %xmm0, %xmm0
    movd %xmm0, %eax
    cmp $5, %eax                    # (x + 1)^2 = x^2 + 1
.endif
.ifdef RDRAND
    rdrand %rax
    jnc wrong
    cmp %rax, %rax
.endif
.ifdef ADX
    mov $2, %eax
    mov $3, %ecx
    test %eax, %eax
    adcx %ecx, %eax
    cmp $5, %eax
.endif
.ifdef AVX512F
    vpternlogd $0xff, %zmm0, %zmm0, %zmm0
    vmovd %xmm0, %eax
    cmp $-1, %eax
.endif

    jne wrong
    xor %edi, %edi
    jmp done
wrong: mov $1, %edi
done: mov $60, %eax
    syscall

.balign 32
ones: .rept 8
    .single 1
    .endr
text: .asciz "kitten, 15 byte"
bytes: .byte 1, 2, 3, 4
