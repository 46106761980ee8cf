# The builder of a proof build, for x86_64-linux: `proof OUT NONCE` creates OUT (mode 0444) with NONCE in it, and exits
# with 0; with 1 if it cannot. It is a whole ELF file, headers included, so that no linker has a say in it.
#
# x86_64-linux.elf was made of this by GNU binutils:
#     as -o proof.o x86_64-linux.s && objcopy -O binary -j .text proof.o x86_64-linux.elf
    .intel_syntax noprefix
    .text
    .set base, 0x400000
elf:
    .byte 0x7f, 'E', 'L', 'F', 2, 1, 1, 0       # 64 bits, little endian, version 1, System V
    .quad 0
    .short 2, 62                                # ET_EXEC, EM_X86_64
    .long 1
    .quad base + start - elf                    # entry
    .quad segments - elf, 0                     # program headers; no sections
    .long 0                                     # flags
    .short 64, 56, 2, 0, 0, 0                   # sizes and numbers of headers
segments:
    .long 1, 5                                  # PT_LOAD, readable and executable
    .quad 0, base, base, end - elf, end - elf, 0x1000
    .long 0x6474e551, 6                         # PT_GNU_STACK, not executable
    .quad 0, 0, 0, 0, 0, 16
start:
    cmp qword ptr [rsp], 3                      # argc
    jne fail
    mov rdi, [rsp + 16]                         # OUT
    mov esi, 0xc1                               # O_WRONLY | O_CREAT | O_EXCL
    mov edx, 0444
    mov eax, 2                                  # open
    syscall
    test eax, eax
    js fail
    mov edi, eax
    mov rsi, [rsp + 24]                         # NONCE
    xor edx, edx
length:
    cmp byte ptr [rsi + rdx], 0
    je write
    inc edx
    jmp length
write:
    mov eax, 1                                  # write
    syscall
    cmp rax, rdx
    jne fail
    xor edi, edi
    jmp exit
fail:
    mov edi, 1
exit:
    mov eax, 60                                 # exit
    syscall
end:
