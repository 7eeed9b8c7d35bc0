// In place of the probes' runner where nvcc wasn't found.
#include "core/error.h"
#include "kernels/cuda_probes.h"

namespace espalier::kernels {

class CudaProbes::State {};

CudaProbes::CudaProbes() {
  throw core::Error(core::ErrorKind::no_device, "calibrate --device cuda: this build has no CUDA probes (configure with nvcc and -DESPALIER_CUDA=ON)");
}
CudaProbes::~CudaProbes() = default;
const ProbeTarget& CudaProbes::target() const { ESPALIER_CHECK(false); }
std::vector<double> CudaProbes::microseconds(const ProbePoint&) { ESPALIER_CHECK(false); }

}  // namespace espalier::kernels
