// One kernel launch: its shape as the CUDA runtime takes it. For sources that are built with nvcc's headers only.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/cuda_handles.h"

namespace espalier::kernels::cuda {

/// All but parameters and stream.
struct Grid {
  const void* kernel = nullptr;
  std::uint32_t blocks = 1, threads = 32, shared_bytes = 0, cluster = 1;
  bool cooperative = false, programmatic = false;
};

/// Points into itself.
class GridConfig {
 public:
  GridConfig(const Grid& grid, cudaStream_t stream) {
    unsigned count = 0;
    if (grid.cooperative) {
      attributes_[count].id = cudaLaunchAttributeCooperative;
      attributes_[count++].val.cooperative = 1;
    }
    if (grid.programmatic) {
      attributes_[count].id = cudaLaunchAttributeProgrammaticStreamSerialization;
      attributes_[count++].val.programmaticStreamSerializationAllowed = 1;
    }
    if (grid.cluster > 1) {
      attributes_[count].id = cudaLaunchAttributeClusterDimension;
      attributes_[count].val.clusterDim.x = grid.cluster;
      attributes_[count].val.clusterDim.y = attributes_[count].val.clusterDim.z = 1;
      ++count;
    }
    config_.gridDim = dim3(grid.blocks);
    config_.blockDim = dim3(grid.threads);
    config_.dynamicSmemBytes = grid.shared_bytes;
    config_.stream = stream;
    config_.attrs = attributes_;
    config_.numAttrs = count;
  }
  GridConfig(const GridConfig&) = delete;
  GridConfig& operator=(const GridConfig&) = delete;
  const cudaLaunchConfig_t* get() const { return &config_; }

 private:
  cudaLaunchAttribute attributes_[3] = {};
  cudaLaunchConfig_t config_{};
};

inline void launch(const Grid& grid, void* params, cudaStream_t stream) {
  const GridConfig config(grid, stream);
  void* arguments[] = {params};
  check(cudaLaunchKernelExC(config.get(), grid.kernel, arguments),
        grid.cooperative ? "a cooperative launch" : "a launch");
}

/// Before a kernel's first launch with so much. Of an SM's memory as much as can be becomes shared: the driver's own
/// choice needs to fit one block only, and what these kernels read through the first-level cache is little.
inline void allow_shared_memory(const void* kernel, std::uint32_t bytes) {
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes)),
        "asking for shared memory");
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout, cudaSharedmemCarveoutMaxShared),
        "asking for shared memory before cache");
}

/// Clusters of the grid that the device holds at once; shared memory has been asked for. More than 8 blocks is beyond
/// what every device of 9.0 takes.
inline int resident_clusters(const Grid& grid) {
  constexpr std::uint32_t kPortable = 8;
  if (grid.cluster > kPortable) {
    check(cudaFuncSetAttribute(grid.kernel, cudaFuncAttributeNonPortableClusterSizeAllowed, 1),
          "asking for large clusters");
  }
  const GridConfig config(grid, nullptr);
  int clusters = 0;
  check(cudaOccupancyMaxActiveClusters(&clusters, grid.kernel, config.get()), "asking for the occupancy of clusters");
  return clusters;
}

}  // namespace espalier::kernels::cuda
