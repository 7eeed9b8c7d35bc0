// A plan in memory that captured launches read, replaced by the next plan while launches and addresses stay: what a
// serving engine needs to replay one CUDA graph while its batch changes. Where the memory is is the caller's business,
// so that a GPU (cuda_decoder.h) and the emulator (decode_loop.h) are kept alike.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "kernels/device_image.h"
#include "kernels/plan_bounds.h"

namespace espalier::kernels {

/// What the tensors of all layers have in common.
struct DecodeShape {
  traces::HeadConfig heads;
  traces::Dtype row_dtype = traces::Dtype::bf16;  ///< of final rows: fp32 or the queries'
  std::int32_t requests = 0;                      ///< most of a batch
  std::int32_t page_size = 1;                     ///< tokens
  std::int64_t pages = 0;                         ///< of a layer's cache
};

/// One layer's, where kernels find them. Addresses and strides are multiples of 16 bytes, but for
/// lse.
struct DecodeTensors {
  const void* queries = nullptr;  ///< [requests][q_heads][qk_dim]
  PagedRows keys{};               ///< rows of qk_dim; by its strides any order of pages, heads and tokens
  PagedRows values{};             ///< rows of v_dim; unused with V inside K
  void* rows = nullptr;           ///< [requests][q_heads][v_dim] of row_dtype
  float* lse = nullptr;           ///< [requests][q_heads], natural logarithm
};

/// Device memory beside the tensors that plans within the bounds need, each piece rounded up to kPieceAlignment.
struct DecodeWorkspace {
  std::int64_t column_bytes = 0;  ///< of the plan: all that is ever copied
  std::int64_t other_bytes = 0;   ///< counters, which begin as zeros, and partial rows
  std::int64_t bytes() const { return column_bytes + other_bytes; }
};
DecodeWorkspace decode_workspace(const PlanBounds& bounds, const traces::HeadConfig& heads);

class DecodeImage {
 public:
  /// `place` is asked once for each piece of the workspace, in an order and of sizes that follow from the bounds; what
  /// it returns is only ever written by the caller. Throws Error (bad input): no such shape.
  DecodeImage(const DecodeShape& shape, PlanBounds bounds, const DevicePlacer& place);

  struct Write {
    void* to = nullptr;
    const std::byte* from = nullptr;  ///< this object's, until the next follow()
    std::size_t bytes = 0;
  };
  /// All columns, whole: what the device's memory must hold before the first launch.
  std::vector<Write> whole() const;
  /// What the device's memory lacks of this plan, in the order of the pieces. Throws PlanRefused, and leaves everything
  /// as it is: a plan that was changed since it was sealed, whose heads, page size, pages or requests aren't those of
  /// the shape, that the kernels can't run, or that is beyond the bounds. Otherwise the
  /// plan is taken to be valid (scheduler/validate.h).
  std::vector<Write> follow(const scheduler::Plan& plan, const DeviceKernels& kernels);

  /// What is captured: the bounds' launches, whatever plan there is. Before the first plan they do nothing.
  const std::vector<DeviceLaunch>& launches() const { return empty_.launches; }
  AttendParams attend(std::size_t launch, const DecodeTensors& tensors) const;
  ReduceParams reduce(std::size_t launch, const DecodeTensors& tensors) const;
  /// Throws Error (bad input): tensors that kernels couldn't read.
  void require_tensors(const DecodeTensors& tensors) const;

 private:
  struct Column {
    void* at;
    std::size_t begin, bytes;  ///< in the mirror
  };
  Tensors filled(const DecodeTensors& tensors) const;
  void require_pages(const traces::PrefixForest& forest) const;
  void require_fit(const scheduler::Plan& plan) const;
  std::vector<Write> copy(const scheduler::Plan& plan, const DevicePlan& padded_plan);

  DecodeShape shape_;
  PlanBounds bounds_;
  ColumnSizes room_;
  DevicePlan empty_;  ///< no plan at all, padded: what parameters are made of
  DeviceImage image_;
  std::vector<Column> columns_;
  std::vector<std::byte> mirror_;  ///< what the device's columns hold once all writes are done, kPieceAlignment apart
};

}  // namespace espalier::kernels
