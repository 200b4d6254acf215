// A wrapper of malloc whose name nobody knows, a wrapper of it, and what looks like a wrapper and is none. Each site of
// the truth is the function that its blocks are to be charged to.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fixture.h"

static FRAME void *qget(size_t size) {
    void *block = keep(malloc(size));
    EXPECT(block);
    return block;
}

static FRAME void *qzero(size_t size) { return keep(memset(qget(size), 0, size)); }

SITE(site_session, qget(size))
SITE(site_user, qget(size))
SITE(site_buffer, qget(size))
SITE(site_table, qzero(size))
SITE(site_list, qzero(size))
SITE(site_item, qzero(size))

// Objects of one type, whoever asks.
SITE(site_node, malloc(size))
// Copies of strings.
SITE(site_copy, malloc(size))
// A value that the caller chooses, beside an entry of its own.
SITE(site_entry, malloc(size))

static FRAME char *copy(const char *text) {
    char *block = site_copy(strlen(text) + 1);
    return keep(strcpy(block, text));
}

static FRAME void put(const void *value, size_t size) {
    keep(site_entry(64));
    keep(memcpy(site_entry(size), value, size));
}

static FRAME void parse_a(int depth) {
    keep(site_node(48));
    if (depth) parse_a(depth - 1);
    keep(NULL);
}

static FRAME void parse_b(int depth) {
    keep(site_node(48));
    if (depth) parse_a(depth - 1);
    keep(NULL);
}

static FRAME void parse_c(int depth) {
    keep(site_node(48));
    if (depth) parse_b(depth - 1);
    keep(NULL);
}

static FRAME void name_city(void) { keep(copy("a city")); }
static FRAME void name_street(void) { keep(copy("a longer street")); }
static FRAME void name_land(void) { keep(copy("a land")); }
static FRAME void name_person(int i) {
    char name[64];
    snprintf(name, sizeof name, "person %*d", i, i);
    keep(copy(name));
}

static const char VALUE[512];
static FRAME void put_large(void) { put(VALUE, 512); keep(NULL); }
static FRAME void put_middle(void) { put(VALUE, 256); keep(NULL); }
static FRAME void put_small(void) { put(VALUE, 128); keep(NULL); }

static void all(void) {
    for (size_t i = 0; i < 20; i++) {
        keep(site_session(400));
        keep(site_user(120));
        keep(site_buffer(1000 + i * 7));
        keep(site_table(4096));
        keep(site_list(56));
        keep(site_item(32));
        parse_a(5);
        parse_b(5);
        parse_c(5);
        name_city();
        name_street();
        name_land();
        name_person((int)i);
        put_large();
        put_middle();
        put_small();
    }
}

// What a library of the system allocates is charged to who asked it.
static void *(*create)(const char *encoding);

static void load(void) {
    void *library = dlopen("libexpat.so.1", RTLD_NOW);
    if (library) create = (void *(*)(const char *))dlsym(library, "XML_ParserCreate");
}

static FRAME void leak_parser(void) { keep(create(NULL)); }

static void library(void) {
    truth_number("loaded", create != NULL);
    for (int i = 0; create && i < 10; i++) leak_parser();
}

int main(int argc, char **argv) {
    static const struct scenario scenarios[] = {{"all", all, 0, 0}, {"library", library, load, 0}, {0}};
    return fixture_main(argc, argv, scenarios);
}
