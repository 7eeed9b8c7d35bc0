// The mirror of a plan's columns, and what has changed of it.
#include "kernels/decode_image.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstring>

#include "core/error.h"
#include "core/units.h"
#include "kernels/device_tensors.h"
#include "kernels/plan_refusals.h"

namespace espalier::kernels {
namespace {

using emulator::MemoryKind;
using scheduler::Plan;
using traces::NodeId;

/// Of the heads, without a request: what launches run before the first plan.
Plan no_plan(const DecodeShape& shape) {
  Plan plan;
  plan.heads = shape.heads;
  plan.forest.pages.page_size = shape.page_size;
  return plan;
}

/// Of columns as they are placed: the padding task stands behind the plan's own.
ColumnSizes placed_rows(const PlanBounds& bounds) {
  ColumnSizes room = bounds.most;
  ++room.tasks;
  if (room.task_arrivals > 0) ++room.task_arrivals;
  return room;
}

void require_pointer(const char* name, const void* at, std::uintptr_t alignment = 16) {
  const auto address = reinterpret_cast<std::uintptr_t>(at);
  if (address == 0 || address % alignment != 0) {
    throw core::bad_input(name, fmt::format("an address in device memory that is a multiple of {}", alignment),
                          fmt::format("{:#x}", address));
  }
}

void require_rows(const char* name, const PagedRows& rows, std::int64_t row_bytes) {
  require_pointer(name, rows.base);
  for (const std::int64_t stride : {rows.page_stride, rows.token_stride, rows.head_stride}) {
    if (stride <= 0 || stride % 16 != 0 || stride < row_bytes) {
      throw core::bad_input(fmt::format("{}: stride", name),
                            fmt::format("a multiple of 16 bytes of at least a row's {}", row_bytes),
                            std::to_string(stride));
    }
  }
}

void require_shape(const DecodeShape& s) {
  traces::check_heads(s.heads, "tensors: heads");
  if (s.requests < 1) throw core::bad_input("tensors: requests", "at least 1", std::to_string(s.requests));
  if (s.page_size < 1) throw core::bad_input("tensors: page size", "at least 1 token", std::to_string(s.page_size));
  if (s.pages < 1) throw core::bad_input("tensors: pages", "at least 1", std::to_string(s.pages));
  if (s.row_dtype != traces::Dtype::fp32 && s.row_dtype != s.heads.q_dtype) {
    throw core::bad_input("tensors: type of final rows",
                          fmt::format("fp32 or the queries' {}", traces::dtype_name(s.heads.q_dtype)),
                          std::string(traces::dtype_name(s.row_dtype)));
  }
}

}  // namespace

DecodeWorkspace decode_workspace(const PlanBounds& bounds, const traces::HeadConfig& heads) {
  Plan plan;
  plan.heads = heads;
  DecodeWorkspace workspace;
  place_plan(plan, padded(plan, {}, bounds), placed_rows(bounds), [&](const DevicePiece& piece) -> void* {
    (piece.kind == MemoryKind::plan ? workspace.column_bytes : workspace.other_bytes) += placed_bytes(piece);
    return nullptr;
  });
  return workspace;
}

DecodeImage::DecodeImage(const DecodeShape& shape, PlanBounds bounds, const DevicePlacer& place)
    : shape_(shape), bounds_(std::move(bounds)), room_(placed_rows(bounds_)) {
  require_shape(shape_);
  const Plan plan = no_plan(shape_);
  empty_ = padded(plan, {}, bounds_);
  std::size_t begin = 0;
  image_ = place_plan(plan, empty_, room_, [&](const DevicePiece& piece) {
    void* at = place(piece);
    if (piece.kind == MemoryKind::plan) {
      columns_.push_back({at, begin, piece.bytes});
      begin += static_cast<std::size_t>(placed_bytes(piece));
    }
    return at;
  });
  mirror_.resize(begin);
  copy(plan, empty_);
}

void DecodeImage::require_tensors(const DecodeTensors& tensors) const {
  require_pointer("tensors: queries", tensors.queries);
  require_pointer("tensors: rows", tensors.rows);
  require_pointer("tensors: log-sum-exps", tensors.lse, alignof(float));
  const std::int64_t size = traces::dtype_bytes(shape_.heads.kv_dtype);
  require_rows("tensors: keys", tensors.keys, shape_.heads.qk_dim * size);
  if (!shape_.heads.v_in_k) require_rows("tensors: values", tensors.values, shape_.heads.v_dim * size);
}

Tensors DecodeImage::filled(const DecodeTensors& tensors) const {
  Tensors all = image_.tensors;
  all.queries = tensors.queries;
  all.keys = tensors.keys;
  all.values = tensors.values;
  all.rows = tensors.rows;
  all.lse = tensors.lse;
  all.row_dtype = shape_.row_dtype;
  return all;
}

AttendParams DecodeImage::attend(std::size_t launch, const DecodeTensors& tensors) const {
  AttendParams params = attend_params(image_, empty_, launch);
  params.tensors = filled(tensors);
  return params;
}

ReduceParams DecodeImage::reduce(std::size_t launch, const DecodeTensors& tensors) const {
  ReduceParams params = reduce_params(image_, empty_, launch);
  params.tensors = filled(tensors);
  return params;
}

std::vector<DecodeImage::Write> DecodeImage::whole() const {
  std::vector<Write> writes;
  for (const Column& c : columns_) {
    if (c.bytes > 0) writes.push_back({c.at, mirror_.data() + c.begin, c.bytes});
  }
  return writes;
}

void DecodeImage::require_pages(const traces::PrefixForest& forest) const {
  const traces::PageTable& pages = forest.pages;
  const auto listed = static_cast<std::int64_t>(pages.page_ids.size());
  for (const NodeId n : core::ids<NodeId>(forest.node_count())) {
    const std::int64_t last = traces::last_page(pages, n, forest.tokens[n]);
    if (pages.first_page[n] < 0 || pages.first_offset[n] < 0 || (listed > 0 && last >= listed)) {
      refuse(
          fmt::format("node {} lies in pages {} to {} of a table of {}", n.value, pages.first_page[n], last, listed));
    }
    for (std::int64_t page = pages.first_page[n]; page <= last; ++page) {
      const std::int64_t id = listed > 0 ? pages.page_ids[static_cast<std::size_t>(page)] : page;
      if (id < 0 || id >= shape_.pages) {
        refuse(fmt::format("it reads page {}, the cache has {}", id, shape_.pages));
      }
    }
  }
}

void DecodeImage::require_fit(const Plan& plan) const {
  if (const std::uint64_t hash = scheduler::plan_hash(plan); hash != plan.hash) {
    refuse(
        fmt::format("its hash is {:016x}, its content's {:016x}: it was changed after it was sealed", plan.hash, hash));
  }
  if (plan.heads != shape_.heads) {
    const auto text = [](const traces::HeadConfig& heads) {
      return fmt::format("{} in {} over {}, scale {:.6g}", traces::heads_text(heads), traces::dtype_name(heads.q_dtype),
                         traces::dtype_name(heads.kv_dtype), heads.softmax_scale());
    };
    refuse(fmt::format("its heads are {}, the tensors' {}", text(plan.heads), text(shape_.heads)));
  }
  const traces::PageTable& pages = plan.forest.pages;
  if (pages.page_size != shape_.page_size) {
    refuse(fmt::format("its pages are of {} tokens, the tensors' of {}", pages.page_size, shape_.page_size));
  }
  if (static_cast<std::int64_t>(plan.forest.request_count()) > shape_.requests) {
    refuse(
        fmt::format("{} requests, where the tensors have rows for {}", plan.forest.request_count(), shape_.requests));
  }
  require_pages(plan.forest);
  for (const traces::RequestId r : plan.query_rows) {
    if (!r.valid() || r.index() >= plan.forest.request_count()) {
      refuse(fmt::format("a row of request {}, where it has {}", r.value, plan.forest.request_count()));
    }
  }
}

std::vector<DecodeImage::Write> DecodeImage::follow(const Plan& plan, const DeviceKernels& kernels) {
  require_fit(plan);
  return copy(plan, padded(plan, lower_plan(plan, kernels), bounds_));
}

std::vector<DecodeImage::Write> DecodeImage::copy(const Plan& plan, const DevicePlan& padded_plan) {
  std::vector<Write> writes;
  writes.reserve(columns_.size());  // nothing may fail once the mirror changes
  std::size_t next = 0;
  const DevicePlacer compare = [&](const DevicePiece& piece) -> void* {
    if (piece.kind != MemoryKind::plan) return nullptr;
    const Column& column = columns_[next++];
    ESPALIER_CHECK(piece.bytes == column.bytes && piece.given <= column.bytes);
    std::byte* held = mirror_.data() + column.begin;
    if (piece.given > 0 && std::memcmp(held, piece.from, piece.given) != 0) {
      std::memcpy(held, piece.from, piece.given);
      writes.push_back({column.at, held, piece.given});
    }
    return column.at;
  };
  place_plan(plan, padded_plan, room_, compare);
  ESPALIER_CHECK(next == columns_.size());
  return writes;
}

}  // namespace espalier::kernels
