/*
 * A plugin for QEMU that counts the instructions of EL2 from the guest's first one to the first of EL0: what
 * Assay costs a boot. With whole=on it counts to the end. It writes the number into the file of its argument out=FILE
 * when QEMU ends. The few declarations that it takes of qemu-plugin.h
 * (QEMU 9.0 and later) and of glib's arrays are here, so that it compiles with a C compiler alone.
 */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
struct qemu_plugin_register;
typedef struct { char *data; unsigned int len; } GArray;
typedef struct { uint8_t *data; unsigned int len; } GByteArray;
typedef struct { struct qemu_plugin_register *handle; const char *name; const char *feature; } descriptor;
typedef void (*tb_cb)(qemu_plugin_id_t, struct qemu_plugin_tb *);
typedef void (*exec_cb)(unsigned int, void *);

void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t, tb_cb);
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *, exec_cb, int, void *);
void qemu_plugin_register_atexit_cb(qemu_plugin_id_t, void (*)(qemu_plugin_id_t, void *), void *);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
GArray *qemu_plugin_get_registers(void);
int qemu_plugin_read_register(struct qemu_plugin_register *, GByteArray *);
GByteArray *g_byte_array_new(void);
void g_byte_array_free(GByteArray *, int);
void g_array_free(GArray *, int);

__attribute__((visibility("default"))) int qemu_plugin_version = 4;

static enum { BEFORE, DURING, AFTER } boot;
static uint64_t insns;
static int whole;
static char out[4096];

/* The exception level of the CPU that translates, from CPSR.M: code is translated for one. */
static int level(void)
{
    int el = -1;
    GArray *all = qemu_plugin_get_registers();
    for (unsigned int i = 0; i < all->len; i++) {
        descriptor *found = &((descriptor *)(void *)all->data)[i];
        if (strcmp(found->name, "cpsr") == 0) {
            GByteArray *value = g_byte_array_new();
            if (qemu_plugin_read_register(found->handle, value) >= 1) {
                el = value->data[0] >> 2 & 3;
            }
            g_byte_array_free(value, 1);
            break;
        }
    }
    g_array_free(all, 1);
    return el;
}

static void executed(unsigned int cpu, void *count)
{
    (void)cpu;
    if (boot == DURING) {
        insns += (uintptr_t)count;
    }
}

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
    (void)id;
    int el = boot == AFTER ? -1 : level();
    if (el == 2) {
        qemu_plugin_register_vcpu_tb_exec_cb(tb, executed, 0, (void *)qemu_plugin_tb_n_insns(tb));
    } else if (el == 1 && boot == BEFORE) {
        boot = DURING;
    } else if (el == 0 && !whole) {
        boot = AFTER;
    }
}

static void ended(qemu_plugin_id_t id, void *unused)
{
    (void)id;
    (void)unused;
    FILE *file = fopen(out, "w");
    if (file != 0) {
        fprintf(file, "%llu\n", (unsigned long long)insns);
        fclose(file);
    }
}

__attribute__((visibility("default"))) int
qemu_plugin_install(qemu_plugin_id_t id, const void *info, int argc, char **argv)
{
    (void)info;
    whole = argc == 2 && strcmp(argv[1], "whole=on") == 0;
    if (argc != 1 + whole || strncmp(argv[0], "out=", 4) != 0 || strlen(argv[0]) >= sizeof out) {
        return 1;
    }
    strcpy(out, argv[0] + 4);
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_atexit_cb(id, ended, 0);
    return 0;
}
