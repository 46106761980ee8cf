// The builder of a proof build, for aarch64-linux: `proof OUT NONCE` creates OUT (mode 0444) with NONCE in it, and exits
// with 0; with 1 if it cannot. It is a whole ELF file, headers included, so that no linker has a say in it.
//
// aarch64-linux.elf was made of this by GNU binutils for aarch64:
//     as -o proof.o aarch64-linux.s && objcopy -O binary -j .text proof.o aarch64-linux.elf
    .text
    .set base, 0x400000
elf:
    .byte 0x7f, 'E', 'L', 'F', 2, 1, 1, 0       // 64 bits, little endian, version 1, System V
    .quad 0
    .short 2, 183                               // ET_EXEC, EM_AARCH64
    .long 1
    .quad base + start - elf                    // entry
    .quad segments - elf, 0                     // program headers; no sections
    .long 0                                     // flags
    .short 64, 56, 2, 0, 0, 0                   // sizes and numbers of headers
segments:
    .long 1, 5                                  // PT_LOAD, readable and executable
    .quad 0, base, base, end - elf, end - elf, 0x10000
    .long 0x6474e551, 6                         // PT_GNU_STACK, not executable
    .quad 0, 0, 0, 0, 0, 16
start:
    ldr x0, [sp]                                // argc
    cmp x0, #3
    b.ne fail
    mov x0, #-100                               // AT_FDCWD
    ldr x1, [sp, #16]                           // OUT
    mov x2, #0xc1                               // O_WRONLY | O_CREAT | O_EXCL
    mov x3, #0444
    mov x8, #56                                 // openat
    svc #0
    tbnz x0, #63, fail
    ldr x1, [sp, #24]                           // NONCE
    mov x2, #0
length:
    ldrb w3, [x1, x2]
    cbz w3, write
    add x2, x2, #1
    b length
write:
    mov x8, #64                                 // write
    svc #0
    cmp x0, x2
    b.ne fail
    mov x0, #0
    b exit
fail:
    mov x0, #1
exit:
    mov x8, #93                                 // exit
    svc #0
end:
