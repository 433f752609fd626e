// Compiled while configuring: does this CUDA compiler take the headers with this host compiler?
#include "scan.cuh"

int main() {
    return dmth_fast::cuda::word_class(8) == 2 ? 0 : 1;
}
