// The workspace of a decoder on a CUDA device: columns, copied through pinned memory, then what only kernels write.
#include "kernels/cuda_decoder.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "core/text.h"
#include "kernels/cuda_choice.h"
#include "kernels/cuda_handles.h"
#include "kernels/cuda_timing.h"
#include "kernels/decode_loop.h"
#include "kernels/device_tensors.h"
#include "kernels/plan_refusals.h"

namespace espalier::kernels {
namespace {

using cuda::check;
using emulator::MemoryKind;
using scheduler::Plan;

constexpr const char* kWho = "decoder";

struct ReleaseHost {
  void operator()(std::byte* p) const { cudaFreeHost(p); }
};

/// Pinned memory that a copy is read from, and when it has been read.
struct Staging {
  std::unique_ptr<std::byte, ReleaseHost> memory;
  cuda::Event read = cuda::make_event();

  explicit Staging(std::size_t bytes) {
    void* p = nullptr;
    check(cudaMallocHost(&p, std::max<std::size_t>(bytes, 1)), "allocating pinned memory");
    memory.reset(static_cast<std::byte*>(p));
  }
};

/// Places of pieces in the caller's workspace.
class Workspace {
 public:
  Workspace(const DecodeWorkspace& sizes, void* at, std::int64_t bytes)
      : columns_(static_cast<std::byte*>(at)), others_(columns_ + sizes.column_bytes) {
    if (at == nullptr || reinterpret_cast<std::uintptr_t>(at) % kPieceAlignment != 0) {
      throw core::bad_input("workspace", fmt::format("device memory at a multiple of {} bytes", kPieceAlignment),
                            fmt::format("{}", at));
    }
    if (bytes < sizes.bytes()) {
      throw core::bad_input("workspace", fmt::format("at least the {} bytes that the bounds need", sizes.bytes()),
                            std::to_string(bytes));
    }
  }
  void* place(const DevicePiece& piece) {
    std::byte*& next = piece.kind == MemoryKind::plan ? columns_ : others_;
    void* at = next;
    next += placed_bytes(piece);
    if (piece.zeroed) check(cudaMemset(at, 0, piece.bytes), piece.name);
    return at;
  }

 private:
  std::byte *columns_, *others_;
};

DeviceKernels kernels_here(const std::optional<KernelPath>& path) {
  const cudaDeviceProp device = cuda::current_device(kWho);
  return cuda::kernels_on(device, cuda::choose_path(device, path, kWho));
}

}  // namespace

class CudaDecoder::State {
 public:
  State(const DecodeShape& shape, const PlanBounds& bounds, void* workspace, std::int64_t bytes,
        const std::optional<KernelPath>& path)
      : device_(cuda::current_device(kWho)),
        kernels_(cuda::kernels_on(device_, cuda::choose_path(device_, path, kWho))),
        sizes_(decode_workspace(bounds, shape.heads)), workspace_(sizes_, workspace, bytes),
        image_(shape, bounds, [this](const DevicePiece& piece) { return workspace_.place(piece); }),
        columns_(static_cast<std::byte*>(workspace)), staging_{Staging(static_cast<std::size_t>(sizes_.column_bytes)),
                                                               Staging(static_cast<std::size_t>(sizes_.column_bytes))} {
    for (const DeviceLaunch& launch : image_.launches()) require_fit(launch);
    copy(image_.whole(), nullptr);
    cuda::settle();
  }

  std::int64_t follow(const Plan& plan, cudaStream_t stream) {
    cudaStreamCaptureStatus capture = cudaStreamCaptureStatusNone;
    check(cudaStreamIsCapturing(stream, &capture), "asking whether a stream is being captured");
    if (capture != cudaStreamCaptureStatusNone) refuse("its stream is being captured: launches are, plans can't be");
    std::vector<DecodeImage::Write> writes = image_.follow(plan, kernels_);
    if (behind_) writes = image_.whole();
    behind_ = true;
    const std::int64_t bytes = copy(writes, stream);
    behind_ = false;
    return bytes;
  }

  void launch(const DecodeTensors& tensors, cudaStream_t stream) const {
    image_.require_tensors(tensors);
    for (std::size_t i = 0; i < image_.launches().size(); ++i) {
      const cuda::Grid grid = cuda::grid_of(image_.launches()[i]);
      if (image_.launches()[i].attend != nullptr) {
        AttendParams params = image_.attend(i, tensors);
        cuda::launch(grid, &params, stream);
      } else {
        ReduceParams params = image_.reduce(i, tensors);
        cuda::launch(grid, &params, stream);
      }
    }
  }

 private:
  void require_fit(const DeviceLaunch& launch) const {
    if (launch.attend == nullptr) return;
    const AttendInstance& kernel = *launch.attend;
    if (kernel.shared_bytes > kernels_.most_shared_bytes) {
      refuse(fmt::format("kernel {} takes {} of shared memory, a block here has at most {}", kernel.name,
                         core::bytes_text(kernel.shared_bytes), core::bytes_text(kernels_.most_shared_bytes)));
    }
    cuda::allow_shared_memory(kernel);
    if (launch.queue_begin >= 0 && kernels_.resident_blocks(kernel) < launch.blocks) {
      refuse(fmt::format("{} blocks with queues, where the device holds {} of {} at once", launch.blocks,
                         kernels_.resident_blocks(kernel), kernel.name));
    }
    if (launch.cluster > 1 && cuda::resident_clusters(cuda::grid_of(launch)) < 1) {
      refuse(fmt::format("clusters of {} blocks of {}: {} holds none", launch.cluster, kernel.name, device_.name));
    }
  }

  /// One range from the first change to the last: what lies between is as it was.
  std::int64_t copy(const std::vector<DecodeImage::Write>& writes, cudaStream_t stream) {
    if (writes.empty()) return 0;
    const DecodeImage::Write &first = writes.front(), &last = writes.back();
    const auto bytes = static_cast<std::size_t>(last.from + last.bytes - first.from);
    ESPALIER_CHECK(static_cast<std::byte*>(last.to) - static_cast<std::byte*>(first.to) == last.from - first.from);
    const std::ptrdiff_t offset = static_cast<std::byte*>(first.to) - columns_;
    Staging& staging = staging_[turn_++ % staging_.size()];
    check(cudaEventSynchronize(staging.read.get()), "waiting for the copy of a plan");
    std::memcpy(staging.memory.get() + offset, first.from, bytes);
    check(cudaMemcpyAsync(first.to, staging.memory.get() + offset, bytes, cudaMemcpyHostToDevice, stream),
          "copying a plan");
    check(cudaEventRecord(staging.read.get(), stream), "recording the copy of a plan");
    return static_cast<std::int64_t>(bytes);
  }

  cudaDeviceProp device_;
  DeviceKernels kernels_;
  DecodeWorkspace sizes_;
  Workspace workspace_;
  DecodeImage image_;
  std::byte* columns_;  ///< where they begin
  std::array<Staging, 2> staging_;
  std::size_t turn_ = 0;
  bool behind_ = false;  ///< a copy failed: the device may hold less than the image says
};

PlanBounds cuda_bounds(const Plan& plan, const std::optional<KernelPath>& path) {
  return bounds_of(plan, lower_plan(plan, kernels_here(path)));
}

CudaDecoder::CudaDecoder(const DecodeShape& shape, const PlanBounds& bounds, void* workspace,
                         std::int64_t workspace_bytes, const std::optional<KernelPath>& path)
    : state_(std::make_unique<State>(shape, bounds, workspace, workspace_bytes, path)) {}
CudaDecoder::~CudaDecoder() = default;

std::int64_t CudaDecoder::follow(const Plan& plan, CUstream_st* stream) { return state_->follow(plan, stream); }

void CudaDecoder::launch(const DecodeTensors& tensors, CUstream_st* stream) const { state_->launch(tensors, stream); }

namespace {

/// A server of one layer.
class CudaLoop {
 public:
  CudaLoop(std::span<const Plan> plans, const DecodeRoom& room, const CudaOptions& options)
      : source_(*options.source), shape_(decode_shape(plans.front(), room, options.row_dtype)),
        bounds_(loop_bounds(plans, kernels_here(options.path), room)),
        workspace_bytes_(decode_workspace(bounds_, shape_.heads).bytes()),
        workspace_(cuda::allocate(static_cast<std::size_t>(workspace_bytes_))),
        tensors_(place_decode_tensors(shape_,
                                      [this](const DevicePiece& piece) {
                                        if (piece.kind == MemoryKind::output) row_bytes_ = piece.bytes;
                                        buffers_.push_back(cuda::allocate(piece.bytes));
                                        return buffers_.back().get();
                                      })),
        decoder_(shape_, bounds_, workspace_.get(), workspace_bytes_, options.path),
        graph_(cuda::make_graph(stream_.get(), [this] { decoder_.launch(tensors_, stream_.get()); })) {}

  DecodeStep step(const Plan& plan) {
    constexpr std::int64_t kMostHostBytes = std::int64_t{16} << 30;
    const CacheBytes cache = make_cache(plan, source_, kMostHostBytes);
    const std::vector<std::byte> queries = make_queries(plan, source_);
    upload(tensors_.queries, queries);
    upload(tensors_.keys.base, cache.keys);
    upload(tensors_.values.base, cache.values);
    check(cudaMemset(tensors_.rows, 0xFF, row_bytes_), "clearing rows");  // what isn't written shows
    cuda::settle();
    DecodeStep done;
    done.copied_bytes = decoder_.follow(plan, stream_.get());
    check(cudaGraphLaunch(graph_.get(), stream_.get()), "launching the graph");
    check(cudaStreamSynchronize(stream_.get()), "running a decode step");
    const auto rows =
        static_cast<std::size_t>(plan.forest.request_count()) * static_cast<std::size_t>(plan.heads.q_heads);
    std::vector<std::byte> values(rows *
                                  static_cast<std::size_t>(plan.heads.v_dim * traces::dtype_bytes(shape_.row_dtype)));
    std::vector<float> lse(rows);
    check(cudaMemcpy(values.data(), tensors_.rows, values.size(), cudaMemcpyDeviceToHost), "reading rows back");
    check(cudaMemcpy(lse.data(), tensors_.lse, lse.size() * sizeof(float), cudaMemcpyDeviceToHost),
          "reading log-sum-exps back");
    done.output = read_rows(plan, shape_.row_dtype, values.data(), lse.data());
    return done;
  }

 private:
  static void upload(const void* to, const std::vector<std::byte>& bytes) {
    if (bytes.empty()) return;
    check(cudaMemcpy(const_cast<void*>(to), bytes.data(), bytes.size(), cudaMemcpyHostToDevice), "filling a tensor");
  }

  TensorSource source_;
  DecodeShape shape_;
  PlanBounds bounds_;
  std::int64_t workspace_bytes_;
  cuda::Buffer workspace_;
  std::size_t row_bytes_ = 0;
  std::vector<cuda::Buffer> buffers_;
  DecodeTensors tensors_;
  cuda::Stream stream_ = cuda::make_stream();
  CudaDecoder decoder_;
  cuda::RunnableGraph graph_;
};

}  // namespace

DecodeLoop cuda_decode_loop(std::span<const Plan> plans, const DecodeRoom& room, const CudaOptions& options) {
  const auto loop = std::make_shared<CudaLoop>(plans, room, options);
  return [loop](const Plan& plan) { return loop->step(plan); };
}

}  // namespace espalier::kernels
