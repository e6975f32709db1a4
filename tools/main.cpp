#include "tools/verb.hpp"

#include <malloc.h>

int main(int argc, char** argv) {
    // Buffers of one layer are freed and asked for again all the time: keep their pages.
    mallopt(M_MMAP_THRESHOLD, 32 << 20);
    mallopt(M_TRIM_THRESHOLD, 512 << 20);
    return kvtape::run_program(argc, argv);
}
