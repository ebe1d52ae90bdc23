// FP, SIMD and SVE registers to and from memory. EL2 is built for soft-float: these are a guest's.
// x0 = where: 32 vectors, then with SVE 16 predicates and FFR, each an eighth of a vector.
.arch_extension simd
.arch_extension sve

.macro each_vector operation
.irp    n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    \operation z\n, [x0, #\n, mul vl]
.endr
.endm
.macro each_predicate operation
.irp    n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
    \operation p\n, [x1, #\n, mul vl]
.endr
.endm

.section .text.float, "ax"
.globl float_save_sve
float_save_sve:
    each_vector str
    addvl   x1, x0, #31
    addvl   x1, x1, #1
    each_predicate str
    rdffr   p0.b
    str     p0, [x1, #16, mul vl]
    ret

.globl float_load_sve
float_load_sve:
    each_vector ldr
    addvl   x1, x0, #31
    addvl   x1, x1, #1
    ldr     p0, [x1, #16, mul vl]
    wrffr   p0.b
    each_predicate ldr
    ret

// Bytes of a vector, as ZCR_EL2 of this CPU allows.
.globl float_vector_bytes
float_vector_bytes:
    rdvl    x0, #1
    ret

.globl float_save_simd
float_save_simd:
    stp     q0, q1, [x0, #0]
    stp     q2, q3, [x0, #32]
    stp     q4, q5, [x0, #64]
    stp     q6, q7, [x0, #96]
    stp     q8, q9, [x0, #128]
    stp     q10, q11, [x0, #160]
    stp     q12, q13, [x0, #192]
    stp     q14, q15, [x0, #224]
    stp     q16, q17, [x0, #256]
    stp     q18, q19, [x0, #288]
    stp     q20, q21, [x0, #320]
    stp     q22, q23, [x0, #352]
    stp     q24, q25, [x0, #384]
    stp     q26, q27, [x0, #416]
    stp     q28, q29, [x0, #448]
    stp     q30, q31, [x0, #480]
    ret

.globl float_load_simd
float_load_simd:
    ldp     q0, q1, [x0, #0]
    ldp     q2, q3, [x0, #32]
    ldp     q4, q5, [x0, #64]
    ldp     q6, q7, [x0, #96]
    ldp     q8, q9, [x0, #128]
    ldp     q10, q11, [x0, #160]
    ldp     q12, q13, [x0, #192]
    ldp     q14, q15, [x0, #224]
    ldp     q16, q17, [x0, #256]
    ldp     q18, q19, [x0, #288]
    ldp     q20, q21, [x0, #320]
    ldp     q22, q23, [x0, #352]
    ldp     q24, q25, [x0, #384]
    ldp     q26, q27, [x0, #416]
    ldp     q28, q29, [x0, #448]
    ldp     q30, q31, [x0, #480]
    ret

.globl float_clear_sve
float_clear_sve:
.irp    n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    dup     z\n\().b, #0
.endr
.irp    n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
    pfalse  p\n\().b
.endr
    wrffr   p0.b
    ret

.globl float_clear_simd
float_clear_simd:
.irp    n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    movi    v\n\().2d, #0
.endr
    ret

.arch_extension nosve
.arch_extension nosimd
