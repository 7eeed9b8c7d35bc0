// A decode loop as a server runs it, with tensors of its own: launches captured once, then plan after plan. What
// `espalier run --steps` and tests check; a server holds a CudaDecoder (cuda_decoder.h) instead.
#pragma once

#include <cstdint>
#include <functional>
#include <span>

#include "kernels/cuda_executor.h"
#include "kernels/decode_image.h"
#include "kernels/emulate.h"

namespace espalier::kernels {

/// What is set aside for plans to come.
struct DecodeRoom {
  double factor = 1;          ///< times what the plans known beforehand need
  std::int32_t requests = 0;  ///< rows of queries and results
  std::int64_t pages = 0;     ///< of the cache
};

struct DecodeStep {
  AttentionOutput output;
  std::int64_t copied_bytes = 0;  ///< of the plan, to the device
};
/// Throws what DecodeImage::follow() and running throw.
using DecodeLoop = std::function<DecodeStep(const scheduler::Plan&)>;

/// For plans known beforehand (at least one, all of equal heads and page size) and what fits beside them. In the
/// emulator; `options.timeline` means nothing here. Rows and partial rows begin every step as if never written.
DecodeLoop emulated_decode_loop(std::span<const scheduler::Plan> plans, const DecodeRoom& room,
                                const TensorSource& source, const EmulateOptions& options = {});

/// On the CUDA device, by one CUDA graph of a CudaDecoder. Of the options: row type, path, source (which must be
/// there). Throws as run_on_cuda() does.
DecodeLoop cuda_decode_loop(std::span<const scheduler::Plan> plans, const DecodeRoom& room, const CudaOptions& options);

/// Of the loops' tensors.
DecodeShape decode_shape(const scheduler::Plan& plan, const DecodeRoom& room, traces::Dtype row_dtype);
/// Bounds of the plans known beforehand, with that room.
PlanBounds loop_bounds(std::span<const scheduler::Plan> plans, const DeviceKernels& kernels, const DecodeRoom& room);
/// Where `place` puts them, uninitialised, in this project's order of pages.
DecodeTensors place_decode_tensors(const DecodeShape& shape, const DevicePlacer& place);

}  // namespace espalier::kernels
