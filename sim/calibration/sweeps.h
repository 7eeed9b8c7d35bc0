// The points worth measuring of each microbenchmark: enough of them, and where each number shows. Sized for a few
// milliseconds a point.
#pragma once

#include <vector>

#include "costmodel/device_spec.h"

namespace espalier::sim {

using SweepPoints = std::vector<std::vector<double>>;  ///< by point, in the order of the family's parameters

SweepPoints sweep_clock(const costmodel::DeviceSpec& device);            ///< C0
SweepPoints sweep_streams(const costmodel::DeviceSpec& device);          ///< C1
SweepPoints sweep_mixed_streams(const costmodel::DeviceSpec& device);    ///< C2
SweepPoints sweep_rings(const costmodel::DeviceSpec& device);            ///< C3, C4
SweepPoints sweep_cycled_sets(const costmodel::DeviceSpec& device);      ///< C5
SweepPoints sweep_shared_segments(const costmodel::DeviceSpec& device);  ///< C6
SweepPoints sweep_chases(const costmodel::DeviceSpec& device);           ///< C7
SweepPoints sweep_shared_memory(const costmodel::DeviceSpec& device);    ///< C8
SweepPoints sweep_tensor(const costmodel::DeviceSpec& device);           ///< C9
SweepPoints sweep_pipes(const costmodel::DeviceSpec& device);            ///< C10
SweepPoints sweep_mixed_loops(const costmodel::DeviceSpec& device);      ///< C11
SweepPoints sweep_empty_kernels(const costmodel::DeviceSpec& device);    ///< C12
SweepPoints sweep_attention_ctas(const costmodel::DeviceSpec& device);   ///< C13
SweepPoints sweep_cta_barriers(const costmodel::DeviceSpec& device);     ///< C14
SweepPoints sweep_barriers(const costmodel::DeviceSpec& device);         ///< C15
SweepPoints sweep_reductions(const costmodel::DeviceSpec& device);       ///< C16
SweepPoints sweep_unequal_ctas(const costmodel::DeviceSpec& device);     ///< C17
SweepPoints sweep_two_streams(const costmodel::DeviceSpec& device);      ///< C18
SweepPoints sweep_loads(const costmodel::DeviceSpec& device);            ///< C21
SweepPoints sweep_gathers(const costmodel::DeviceSpec& device);          ///< C19
SweepPoints sweep_merges(const costmodel::DeviceSpec& device);           ///< C20

}  // namespace espalier::sim
