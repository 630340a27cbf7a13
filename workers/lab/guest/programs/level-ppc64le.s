# One instruction of a feature; --defsym NAME=1 selects the feature. Exit status: 0 if the result is the one in the
# manual, 1 if it is another. A processor without the feature raises an illegal-instruction interrupt: SIGILL.
.abiversion 2
.machine power10
.globl _start
_start:

.ifdef vaddudm
    vspltisw 2, 2
    vspltisw 3, 3
    vaddudm 2, 2, 3
    mfvsrwz 3, 34
    cmpwi 3, 5
.endif

.ifdef maddld
    li 3, 3
    li 4, 4
    maddld 3, 3, 4, 3
    cmpdi 3, 15
.endif
.ifdef modsd
    li 3, 17
    li 4, 5
    modsd 3, 3, 4
    cmpdi 3, 2
.endif
.ifdef cnttzd
    li 3, 8
    cnttzd 3, 3
    cmpdi 3, 3
.endif
.ifdef setb
    li 3, 1
    cmpdi 3, 2
    setb 3, 0
    cmpdi 3, -1
.endif
.ifdef addpcis
    addpcis 3, 0
here: bcl 20, 31, there
there: mflr 4
    addi 4, 4, here - there
    cmpd 3, 4
.endif
.ifdef vabsdub
    vspltisb 2, 3
    vspltisb 3, 5
    vabsdub 2, 2, 3
    vspltisb 3, 2
    vcmpequb. 2, 2, 3
    mfcr 3
    rlwinm 3, 3, 25, 31, 31         # cr6: all of them are equal
    cmpwi 3, 1
.endif
.ifdef xsaddqp
    vspltisb 2, 0
    xsaddqp 2, 2, 2
    mfvsrd 3, 34
    cmpdi 3, 0
.endif
.ifdef mtvsrdd
    li 3, 5
    mtvsrdd 34, 3, 3
    mfvsrd 3, 34
    cmpdi 3, 5
.endif
.ifdef darn
    darn 3, 1
    cmpdi 3, -1                     # an error
    beq wrong
    cmpd 3, 3
.endif

.ifdef paddi
    li 3, 1
    paddi 3, 3, 0x12345678
    lis 4, 0x1234
    ori 4, 4, 0x5679
    cmpd 3, 4
.endif
.ifdef brd
    li 3, 1
    brd 3, 3
    rldicl 3, 3, 8, 56
    cmpdi 3, 1
.endif
.ifdef setbc
    li 3, 1
    cmpdi 3, 1
    setbc 3, 2
    cmpdi 3, 1
.endif
.ifdef xxspltiw
    xxspltiw 34, 7
    mfvsrwz 3, 34
    cmpwi 3, 7
.endif
.ifdef xvf32ger
    xxlxor 34, 34, 34
    xvf32ger 0, 34, 34
    xxmfacc 0
    mfvsrd 3, 0
    cmpdi 3, 0
.endif

    bne wrong
    li 3, 0
    b done
wrong: li 3, 1
done: li 0, 1
    sc
