#include "tools/verb.hpp"

int main(int argc, char** argv) {
    return kvtape::run_program(argc, argv);
}
