// What blocks of our kernels take as they are compiled, by heads and architecture: kernels/cuda/resources.json, which
// script/kernels writes and holds to the compiler.
#pragma once

#include <cstdint>
#include <optional>

#include "costmodel/kernel_config.h"

namespace espalier::costmodel {

struct CompiledBlock {
  std::int32_t registers = 0;  ///< a thread
  std::int32_t warps = 0;
  std::int64_t smem_bytes = 0;
};

/// A block of our kernel of these tiles and stages for these heads, by the newest architecture that the device runs.
/// Nothing for kernels that aren't ours and for heads that it wasn't compiled for.
std::optional<CompiledBlock> compiled_block(const KernelConfig& kernel, const traces::HeadConfig& heads,
                                            const DeviceSpec& device);

}  // namespace espalier::costmodel
