// A Python extension module with a leak.
#include <Python.h>

__attribute__((noinline, noclone)) static void *extension_leak(size_t size) {
    void *block = malloc(size);
    __asm__ volatile("" : "+r"(block) : : "memory");
    return block;
}

static PyObject *keep(PyObject *self, PyObject *size) {
    (void)self;
    if (!extension_leak(PyLong_AsSize_t(size))) return PyErr_NoMemory();
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {{"keep", keep, METH_O, NULL}, {NULL, NULL, 0, NULL}};
static struct PyModuleDef module = {.m_base = PyModuleDef_HEAD_INIT, .m_name = "pyleak", .m_methods = methods};

PyMODINIT_FUNC PyInit_pyleak(void) { return PyModule_Create(&module); }
