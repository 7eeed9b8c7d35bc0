// Plan after plan through one set of launches in the emulator.
#include <algorithm>
#include <memory>

#include "kernels/decode_image.h"
#include "kernels/decode_loop.h"
#include "kernels/device_tensors.h"

namespace espalier::kernels {
namespace {

using emulator::GlobalMemory;
using emulator::MemoryKind;
using scheduler::Plan;

constexpr std::int64_t kMostTensorBytes = std::int64_t{4} << 30;

class EmulatedLoop {
 public:
  EmulatedLoop(std::span<const Plan> plans, const DecodeRoom& room, const TensorSource& source,
               const EmulateOptions& options)
      : source_(source), kernels_{host_kernels(), options.most_shared_bytes, options.path},
        machine_(memory_, options.machine), shape_(decode_shape(plans.front(), room, options.row_dtype)),
        tensors_(place_decode_tensors(shape_, placer())), image_(shape_, loop_bounds(plans, kernels_, room), placer()) {
    image_.require_tensors(tensors_);
    write(image_.whole());
  }

  DecodeStep step(const Plan& plan) {
    DecodeStep done;
    done.copied_bytes = write(image_.follow(plan, kernels_));
    const CacheBytes cache = make_cache(plan, source_, kMostTensorBytes);
    const std::vector<std::byte> queries = make_queries(plan, source_);
    memory_.overwrite(const_cast<void*>(tensors_.queries), queries.data(), queries.size());
    memory_.overwrite(const_cast<void*>(tensors_.keys.base), cache.keys.data(), cache.keys.size());
    memory_.overwrite(const_cast<void*>(tensors_.values.base), cache.values.data(), cache.values.size());
    for (const void* written : written_by_kernels_) memory_.renew(written);
    for (std::size_t i = 0; i < image_.launches().size(); ++i) {
      const DeviceLaunch& launch = image_.launches()[i];
      if (launch.attend != nullptr) {
        emulate_launch(machine_, launch, image_.attend(i, tensors_));
      } else {
        emulate_launch(machine_, launch, image_.reduce(i, tensors_));
      }
    }
    done.output = read_rows(plan, shape_.row_dtype, static_cast<const std::byte*>(tensors_.rows), tensors_.lse);
    return done;
  }

 private:
  DevicePlacer placer() {
    return [this](const DevicePiece& piece) -> void* {
      if (piece.zeroed) return memory_.allocate_zeroed(piece.name, piece.kind, piece.bytes);
      const bool output =
          piece.kind == MemoryKind::partials || piece.kind == MemoryKind::output || piece.kind == MemoryKind::lse;
      if (!output) {
        const std::vector<std::byte> nothing(piece.bytes, std::byte{0xFF});
        return const_cast<void*>(memory_.upload_bytes(piece.name, piece.kind, nothing.data(), nothing.size()));
      }
      written_by_kernels_.push_back(memory_.allocate(piece.name, piece.kind, piece.bytes));
      return const_cast<void*>(written_by_kernels_.back());
    };
  }

  std::int64_t write(const std::vector<DecodeImage::Write>& writes) {
    std::int64_t bytes = 0;
    for (const DecodeImage::Write& w : writes) {
      memory_.overwrite(w.to, w.from, w.bytes);
      bytes += static_cast<std::int64_t>(w.bytes);
    }
    return bytes;
  }

  TensorSource source_;
  DeviceKernels kernels_;
  GlobalMemory memory_;
  std::vector<const void*> written_by_kernels_;
  emulator::Machine machine_;
  DecodeShape shape_;
  DecodeTensors tensors_;
  DecodeImage image_;
};

}  // namespace

DecodeShape decode_shape(const Plan& plan, const DecodeRoom& room, traces::Dtype row_dtype) {
  return {plan.heads, row_dtype, room.requests, plan.forest.pages.page_size, room.pages};
}

PlanBounds loop_bounds(std::span<const Plan> plans, const DeviceKernels& kernels, const DecodeRoom& room) {
  PlanBounds bounds;
  for (const Plan& plan : plans) bounds = both(std::move(bounds), bounds_of(plan, lower_plan(plan, kernels)));
  bounds = with_room(std::move(bounds), room.factor);
  bounds.most.page_ids = std::max(bounds.most.page_ids, room.pages);
  return bounds;
}

DecodeTensors place_decode_tensors(const DecodeShape& shape, const DevicePlacer& place) {
  const traces::HeadConfig& heads = shape.heads;
  const auto piece = [&](const char* name, MemoryKind kind, std::int64_t numbers, traces::Dtype dtype) {
    const std::int64_t bytes = core::checked_mul(numbers, traces::dtype_bytes(dtype));
    return place({.name = name, .kind = kind, .bytes = static_cast<std::size_t>(bytes)});
  };
  const std::int64_t tokens =
      core::checked_mul(core::checked_mul(shape.pages, shape.page_size), std::int64_t{heads.kv_heads});
  const auto cache = [&](const char* name, std::int64_t columns) {
    return heads_first(piece(name, MemoryKind::kv, core::checked_mul(tokens, columns), heads.kv_dtype), heads,
                       shape.page_size, columns);
  };
  const std::int64_t rows = core::checked_mul(std::int64_t{shape.requests}, heads.q_heads);
  DecodeTensors tensors;
  tensors.queries = piece("queries", MemoryKind::query, rows * heads.qk_dim, heads.q_dtype);
  tensors.keys = cache("keys", heads.qk_dim);
  if (!heads.v_in_k) tensors.values = cache("values", heads.v_dim);
  tensors.rows = piece("rows", MemoryKind::output, rows * heads.v_dim, shape.row_dtype);
  tensors.lse = static_cast<float*>(piece("log-sum-exps", MemoryKind::lse, rows, traces::Dtype::fp32));
  return tensors;
}

DecodeLoop emulated_decode_loop(std::span<const Plan> plans, const DecodeRoom& room, const TensorSource& source,
                                const EmulateOptions& options) {
  const auto loop = std::make_shared<EmulatedLoop>(plans, room, source, options);
  return [loop](const Plan& plan) { return loop->step(plan); };
}

}  // namespace espalier::kernels
