// Attention of a decode step for a serving engine on a CUDA device: its tensors, its memory, its stream, its graphs.
//
//     const PlanBounds bounds = with_room(cuda_bounds(plan), 1.5);
//     CudaDecoder decoder(shape, bounds, workspace, decode_workspace(bounds, shape.heads).bytes());
//     decoder.follow(plan, stream);            // before every step whose plan is new or has grown
//     decoder.launch(layer_tensors, stream);   // once a layer; may be captured: follow() changes what replays do
//
// The device is the one that is current. No device memory is allocated, and pinned memory in the constructor only.
// Tensors and workspace stay the caller's. Layers share one decoder, as they share the plan, on one stream or on
// streams that follow one another. Without nvcc there is none: cuda_bounds() throws Error: no device.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "kernels/decode_image.h"

struct CUstream_st;  ///< cudaStream_t points to one

namespace espalier::kernels {

/// What a plan needs on the current CUDA device. `path` as in CudaOptions. Throws Error: no device; PlanRefused.
PlanBounds cuda_bounds(const scheduler::Plan& plan, const std::optional<KernelPath>& path = {});

class CudaDecoder {
 public:
  /// `workspace`: device memory, 256-byte aligned, of at least decode_workspace(bounds, heads).bytes(); nobody else
  /// writes it while this object lives. Throws Error: no device; bad input (shape, workspace); PlanRefused for bounds
  /// that this device can't hold; check failed for whatever CUDA complains about.
  CudaDecoder(const DecodeShape& shape, const PlanBounds& bounds, void* workspace, std::int64_t workspace_bytes,
              const std::optional<KernelPath>& path = {});
  ~CudaDecoder();
  CudaDecoder(const CudaDecoder&) = delete;
  CudaDecoder& operator=(const CudaDecoder&) = delete;

  /// Puts one copy of what has changed on the stream, behind launches of the plan before and before those of this one.
  /// Refused on a stream that is being captured. Waits only for its own copy of two plans ago. Throws as
  /// DecodeImage::follow(); the plan before then stays. Returns the bytes copied.
  std::int64_t follow(const scheduler::Plan& plan, CUstream_st* stream);

  /// Puts the launches on the stream; until the first plan they do nothing. Throws Error (bad input): tensors that
  /// kernels couldn't read; then nothing is launched.
  void launch(const DecodeTensors& tensors, CUstream_st* stream) const;

 private:
  class State;
  std::unique_ptr<State> state_;
};

}  // namespace espalier::kernels
