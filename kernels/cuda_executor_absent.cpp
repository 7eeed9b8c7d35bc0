// In place of the CUDA executor where nvcc wasn't found.
#include "core/error.h"
#include "kernels/cuda_executor.h"

namespace espalier::kernels {

class CudaRunner::State {};

CudaRunner::CudaRunner() {
  throw core::Error(core::ErrorKind::no_device,
                    "--backend cuda: this build has no CUDA executor (configure with nvcc and -DESPALIER_CUDA=ON); use "
                    "--backend emulate, interpret or host");
}
CudaRunner::~CudaRunner() = default;
CudaRun CudaRunner::run(const scheduler::Plan&, const CudaOptions&) { return {}; }

CudaRun run_on_cuda(const scheduler::Plan& plan, const CudaOptions& options) { return CudaRunner().run(plan, options); }

}  // namespace espalier::kernels
