# A 32-bit process, without any library: says that it is ready and waits for the end of its input.
    .globl _start
_start:
    mov $4, %eax
    mov $1, %ebx
    mov $message, %ecx
    mov $8, %edx
    int $0x80
0:  mov $3, %eax
    mov $0, %ebx
    mov $buffer, %ecx
    mov $16, %edx
    int $0x80
    test %eax, %eax
    jg 0b
    mov $1, %eax
    xor %ebx, %ebx
    int $0x80
    .data
message: .ascii "ready 0\n"
    .bss
buffer: .skip 16
    .section .note.GNU-stack,"",@progbits
