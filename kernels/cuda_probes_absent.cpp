// In place of the probes' runner where nvcc wasn't found.
#include "core/error.h"
#include "kernels/cuda_probes.h"

namespace espalier::kernels {

class CudaProbes::State {};

ProbeTarget cuda_target() {
  throw core::Error(
      core::ErrorKind::no_device,
      "calibrate --device cuda and measure: this build has no CUDA (configure with nvcc and -DESPALIER_CUDA=ON)");
}
CudaProbes::CudaProbes() { cuda_target(); }
CudaProbes::~CudaProbes() = default;
const ProbeTarget& CudaProbes::target() const { ESPALIER_CHECK(false); }
ProbeTimes CudaProbes::microseconds(const ProbePoint&) { ESPALIER_CHECK(false); }

}  // namespace espalier::kernels
