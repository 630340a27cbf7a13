# A guest of six instructions under KVM, with KVM's own ioctls (Documentation/virt/kvm/api.rst), so that it tests only
# the kernel. Prints TAP. The first failure ends it. Exit status: errno, or 255 for a wrong answer.
.abiversion 2

# linux/kvm.h. The bits of an ioctl's direction are powerpc's own (asm/ioctl.h).
.equ KVM_GET_API_VERSION, 0x2000ae00
.equ KVM_CREATE_VM, 0x2000ae01
.equ KVM_GET_VCPU_MMAP_SIZE, 0x2000ae04
.equ KVM_CREATE_VCPU, 0x2000ae41
.equ KVM_SET_USER_MEMORY_REGION, 0x8020ae46
.equ KVM_RUN, 0x2000ae80
.equ KVM_SET_REGS, 0x8188ae82
.equ KVM_ENABLE_CAP, 0x8068aea3
.equ KVM_PPC_CONFIGURE_V3_MMU, 0x8010aeaf
.equ KVM_CAP_PPC_PAPR, 68
.equ KVM_PPC_MMUV3_RADIX, 1
.equ KVM_EXIT_PAPR_HCALL, 19

.equ EINTR, 4
.equ MEMORY, 1 << 20               # bytes of the guest, from its address 0
.equ START, 0x1000                 # address of its instructions
.equ RESULT, 0x2000                # address of its result
.equ PROCESS_TABLE, 0x10000        # 2^(12+4) bytes; the guest never turns translation on
.equ H_PUT_TERM_CHAR, 0x58         # a hypercall that KVM passes to user space

.macro call number                 # a system call; its arguments are in r3 and following
    li 0, \number
    sc
    bso failed
.endm
.macro ioctl descriptor, request, argument=0
    mr 3, \descriptor
    lis 4, \request >> 16
    ori 4, 4, \request & 0xffff
    mr 5, \argument
    call 54
.endm
.macro mmap flags                  # r4: bytes, r7: descriptor
    li 3, 0
    li 5, 3                        # PROT_READ | PROT_WRITE
    li 6, \flags
    li 8, 0
    call 90
.endm
.macro expect register, value
    cmpdi \register, \value
    bne wrong
.endm
.macro step text                   # r30, r31: name of the next test point
    bl 3f
1:  .ascii "\text\n"
2:  .balign 4
3:  mflr 30
    li 31, 2b - 1b
.endm
.macro passed
    addi 4, 14, ok - data
    li 5, 3
    bl say
    bl name
.endm

# r14: data   r15: /dev/kvm   r16: the guest   r17: its processor   r18: its memory   r19: struct kvm_run
.globl _start
_start: bcl 20, 31, here
here: mflr 14
    addis 14, 14, data - here@ha
    addi 14, 14, data - here@l
    addi 4, 14, plan - data
    li 5, 5
    bl say

    step "1 - /dev/kvm speaks version 12"
    addi 3, 14, device - data
    li 4, 2                        # O_RDWR
    call 5
    mr 15, 3
    li 9, 0
    ioctl 15, KVM_GET_API_VERSION, 9
    expect 3, 12
    passed

    step "2 - KVM_CREATE_VM"
    li 9, 0
    ioctl 15, KVM_CREATE_VM, 9
    mr 16, 3
    passed

    step "3 - KVM_SET_USER_MEMORY_REGION"
    lis 4, MEMORY >> 16
    li 7, -1
    mmap 0x22                      # MAP_PRIVATE | MAP_ANONYMOUS
    mr 18, 3
    std 18, region + 24 - data(14)
    addi 9, 14, region - data
    ioctl 16, KVM_SET_USER_MEMORY_REGION, 9
    passed

    step "4 - KVM_CREATE_VCPU"
    li 9, 0
    ioctl 16, KVM_CREATE_VCPU, 9
    mr 17, 3
    passed

    step "5 - KVM_CAP_PPC_PAPR"
    addi 9, 14, capability - data
    ioctl 17, KVM_ENABLE_CAP, 9
    passed

    step "6 - KVM_PPC_CONFIGURE_V3_MMU: radix"
    addi 9, 14, mmu - data
    ioctl 16, KVM_PPC_CONFIGURE_V3_MMU, 9
    passed

    step "7 - KVM_RUN ends in the guest's hypercall"
    li 9, 0
    ioctl 15, KVM_GET_VCPU_MMAP_SIZE, 9
    mr 4, 3
    mr 7, 17
    mmap 1                         # MAP_SHARED
    mr 19, 3
    li 9, (inner_end - inner) / 4
    mtctr 9
    addi 10, 14, inner - data - 4
    addi 11, 18, START - 4
copy: lwzu 9, 4(10)
    stwu 9, 4(11)
    bdnz copy
    addi 9, 14, registers - data
    ioctl 17, KVM_SET_REGS, 9
again:
    mr 3, 17
    lis 4, KVM_RUN >> 16
    ori 4, 4, KVM_RUN & 0xffff
    li 5, 0
    li 0, 54
    sc
    bns stopped
    cmpdi 3, EINTR
    beq again
    b failed
stopped:
    lwz 9, 8(19)                   # exit_reason
    expect 9, KVM_EXIT_PAPR_HCALL
    ld 9, 32(19)                   # papr_hcall.nr
    expect 9, H_PUT_TERM_CHAR
    passed

    step "8 - it computed 42, in a register and in its memory"
    ld 9, 48(19)                   # papr_hcall.args[0]
    expect 9, 42
    ld 9, RESULT(18)
    expect 9, 42
    passed
    li 3, 0
exit: li 0, 1
    sc

wrong: li 3, 255
failed: mr 21, 3
    addi 4, 14, not_ok - data
    li 5, 7
    bl say
    bl name
    mr 3, 21
    b exit

name: mr 4, 30
    mr 5, 31
say: li 3, 1                       # write(1, r4, r5)
    li 0, 4
    sc
    blr

.data
.balign 8
data:
region: .long 0, 0                 # struct kvm_userspace_memory_region: slot, flags
    .quad 0, MEMORY, 0             # the guest's address, bytes, address here
capability: .long KVM_CAP_PPC_PAPR # struct kvm_enable_cap
    .fill 100
    .balign 8
mmu: .quad KVM_PPC_MMUV3_RADIX     # struct kvm_ppc_mmuv3_cfg
    .quad 1 << 63 | PROCESS_TABLE | 4
inner:                             # the guest
    li 4, 21
    add 4, 4, 4
    std 4, RESULT(0)
    li 3, H_PUT_TERM_CHAR
    sc 1
    b .
inner_end:
    .balign 8
registers:                         # struct kvm_regs
    .quad START, 0, 0, 0, 0        # pc, cr, ctr, lr, xer
    .quad 1 << 63 | 1 << 12 | 1    # msr: 64 bits, machine checks, little endian; no translation
    .fill 392 - 48
device: .asciz "/dev/kvm"
plan: .ascii "1..8\n"
ok: .ascii "ok "
not_ok: .ascii "not ok "
