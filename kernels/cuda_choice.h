// What of a plan's kernels a CUDA device can run: the path, and how many blocks at once. For sources that are built
// with nvcc's headers only.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <optional>

#include "kernels/cuda_grid.h"
#include "kernels/device_plan.h"

namespace espalier::kernels::cuda {

/// `asked`, or bulk copies on devices of compute capability 9.x where this build has code for them; products of
/// warpgroups only when asked for. Throws Error (check failed) for a path that isn't there; `who` begins the sentence.
KernelPath choose_path(const cudaDeviceProp& device, const std::optional<KernelPath>& asked, const char* who);

Grid grid_of(const DeviceLaunch& launch);

/// Before a kernel's first launch.
void allow_shared_memory(const AttendInstance& instance);

/// All kernels of this build, as the device can run them.
DeviceKernels kernels_on(const cudaDeviceProp& device, KernelPath path);

}  // namespace espalier::kernels::cuda
