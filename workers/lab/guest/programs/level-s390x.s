# One instruction of a feature; --defsym NAME=1 selects the feature. Exit status: 0 if the result is the one in the
# manual, 1 if it is another. A processor without the feature raises an operation or specification
# exception: SIGILL.
.machine z15
.globl _start
_start:

.ifdef VECTOR
    larl %r1, floats
    vl %v0, 0(%r1)
    vaf %v0, %v0, %v0
    vlgvf %r2, %v0, 0
    clfi %r2, 0x7f000000
.endif

.ifdef VFASB
    larl %r1, floats
    vl %v0, 0(%r1)
    vfasb %v0, %v0, %v0
    vlgvf %r2, %v0, 0
    clfi %r2, 0x40000000            # 1 + 1
.endif
.ifdef VFMASB
    larl %r1, floats
    vl %v0, 0(%r1)
    vfmasb %v0, %v0, %v0, %v0
    vlgvf %r2, %v0, 0
    clfi %r2, 0x40000000            # 1 * 1 + 1
.endif
.ifdef VFSQSB
    larl %r1, floats
    vl %v0, 0(%r1)
    vfsqsb %v0, %v0
    vlgvf %r2, %v0, 0
    clfi %r2, 0x3f800000
.endif
.ifdef VFCESB
    larl %r1, floats
    vl %v0, 0(%r1)
    vfcesb %v0, %v0, %v0
    vlgvf %r2, %v0, 0
    clfi %r2, 0xffffffff
.endif
.ifdef WFAXB
    vzero %v0
    wfaxb %v0, %v0, %v0             # 0 + 0, 128 bits
    vlgvg %r2, %v0, 0
    clgfi %r2, 0
.endif
.ifdef AGH
    larl %r1, three
    lghi %r2, 2
    agh %r2, 0(%r1)
    clgfi %r2, 5
.endif
.ifdef MSGRKC
    lghi %r2, 3
    lghi %r3, 4
    msgrkc %r2, %r2, %r3
    clgfi %r2, 12
.endif
.ifdef VLIP
    vlip %v0, 0x1234, 0             # a packed decimal number
    vlgvg %r2, %v0, 1
    clgfi %r2, 0x1234c
.endif

.ifdef SELGR
    lghi %r2, 0
    lghi %r3, 5
    clgr %r2, %r2
    selgre %r2, %r3, %r2
    clgfi %r2, 5
.endif
.ifdef NNGRK
    lghi %r2, -1
    nngrk %r2, %r2, %r2
    clgfi %r2, 0
.endif
.ifdef VLBRF
    larl %r1, floats
    vlbrf %v0, 0(%r1)
    vlgvf %r2, %v0, 0
    clfi %r2, 0x803f
.endif

    lghi %r2, 0
    je done
    lghi %r2, 1
done: svc 1
.balign 16
floats: .long 0x3f800000, 0x3f800000, 0x3f800000, 0x3f800000
three: .short 3
