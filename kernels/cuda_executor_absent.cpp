// In place of the CUDA executor where nvcc wasn't found.
#include "core/error.h"
#include "kernels/cuda_decoder.h"
#include "kernels/cuda_executor.h"
#include "kernels/decode_loop.h"

namespace espalier::kernels {
namespace {

[[noreturn]] void no_executor() {
  throw core::Error(core::ErrorKind::no_device,
                    "--backend cuda: this build has no CUDA executor (configure with nvcc and -DESPALIER_CUDA=ON); use "
                    "--backend emulate, interpret or host");
}

}  // namespace

class CudaRunner::State {};

CudaRunner::CudaRunner() { no_executor(); }
CudaRunner::~CudaRunner() = default;
CudaRun CudaRunner::run(const scheduler::Plan&, const CudaOptions&) { return {}; }

CudaRun run_on_cuda(const scheduler::Plan& plan, const CudaOptions& options) { return CudaRunner().run(plan, options); }

PlanBounds cuda_bounds(const scheduler::Plan&, const std::optional<KernelPath>&) { no_executor(); }

class CudaDecoder::State {};

CudaDecoder::CudaDecoder(const DecodeShape&, const PlanBounds&, void*, std::int64_t, const std::optional<KernelPath>&) {
  no_executor();
}
CudaDecoder::~CudaDecoder() = default;
std::int64_t CudaDecoder::follow(const scheduler::Plan&, CUstream_st*) { return 0; }
void CudaDecoder::launch(const DecodeTensors&, CUstream_st*) const {}

DecodeLoop cuda_decode_loop(std::span<const scheduler::Plan>, const DecodeRoom&, const CudaOptions&) { no_executor(); }

}  // namespace espalier::kernels
