// In place of the CUDA executor where nvcc wasn't found.
#include "core/error.h"
#include "kernels/cuda_executor.h"

namespace espalier::kernels {

CudaRun run_on_cuda(const scheduler::Plan&, const CudaOptions&) {
  throw core::Error(core::ErrorKind::no_device,
                    "--backend cuda: this build has no CUDA executor (configure with nvcc and -DESPALIER_CUDA=ON); use --backend emulate, interpret or host");
}

}  // namespace espalier::kernels
