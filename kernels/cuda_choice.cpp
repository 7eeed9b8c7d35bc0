// Asks the CUDA runtime what it loaded of the kernels.
#include "kernels/cuda_choice.h"

#include "kernels/cuda_executor.h"
#include "kernels/cuda_handles.h"

namespace espalier::kernels::cuda {
namespace {

/// Code that was loaded for this device may be of an empty kernel, whose bounds then don't allow a block of the
/// instance's size.
bool has_code(const AttendInstance& instance) {
  cudaFuncAttributes attributes{};
  check(cudaFuncGetAttributes(&attributes, reinterpret_cast<const void*>(instance.kernel)),
        "asking for a kernel's code");
  return attributes.maxThreadsPerBlock >= static_cast<int>(instance.threads);
}

int blocks_per_multiprocessor(const AttendInstance& instance) {
  allow_shared_memory(instance);
  const auto* kernel = reinterpret_cast<const void*>(instance.kernel);
  int blocks = 0;
  check(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, kernel, static_cast<int>(instance.threads),
                                                      instance.shared_bytes),
        "asking for the occupancy");
  return blocks;
}

}  // namespace

KernelPath choose_path(const cudaDeviceProp& device, const std::optional<KernelPath>& asked, const char* who) {
  const bool possible = device.major >= 9 && has_code(on_cuda::attend_bulk().front());
  if (asked == KernelPath::bulk && !possible) {
    throw core::Error(core::ErrorKind::check_failed,
                      fmt::format("{}: no bulk copies on {} with this build (compute capability 9.0 and kernels "
                                  "compiled for sm_90 or up are needed)",
                                  who, device.name));
  }
  if (asked == KernelPath::wgmma && !(possible && has_code(on_cuda::attend_wgmma().front()))) {
    throw core::Error(core::ErrorKind::check_failed,
                      fmt::format("{}: no products of warpgroups on {} with this build (compute capability 9.0 and "
                                  "kernels compiled for sm_90a are needed)",
                                  who, device.name));
  }
  if (asked) return *asked;
  return possible && device.major == 9 ? KernelPath::bulk : KernelPath::plain;
}

Grid grid_of(const DeviceLaunch& l) {
  const auto blocks = static_cast<std::uint32_t>(l.blocks);
  if (l.attend == nullptr) {
    return {.kernel = reinterpret_cast<const void*>(l.reduce->kernel), .blocks = blocks, .threads = l.reduce->threads};
  }
  return {.kernel = reinterpret_cast<const void*>(l.attend->kernel),
          .blocks = blocks,
          .threads = l.attend->threads,
          .shared_bytes = l.attend->shared_bytes,
          .cluster = static_cast<std::uint32_t>(l.cluster),
          .cooperative = l.cooperative()};
}

void allow_shared_memory(const AttendInstance& instance) {
  allow_shared_memory(reinterpret_cast<const void*>(instance.kernel), instance.shared_bytes);
}

DeviceKernels kernels_on(const cudaDeviceProp& device, KernelPath path) {
  const std::int64_t multiprocessors = device.multiProcessorCount;
  return {.set = cuda_kernels(),
          .most_shared_bytes = static_cast<std::int64_t>(device.sharedMemPerBlockOptin),
          .path = path,
          .resident_blocks = [multiprocessors](const AttendInstance& instance) {
            return multiprocessors * blocks_per_multiprocessor(instance);
          }};
}

}  // namespace espalier::kernels::cuda
