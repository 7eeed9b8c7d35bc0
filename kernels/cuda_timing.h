// Times of launches on a CUDA stream, by events: of an L2 cache that holds nothing of theirs, or of what the run before
// left there.
//
// Unless it says otherwise the device is kept busy while the host hands the launches over, so that no gap of the host's
// is timed.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "kernels/cuda_handles.h"

namespace espalier::kernels::cuda {

/// What `launches` puts on the stream, as a graph that is on the device already.
RunnableGraph make_graph(cudaStream_t stream, const std::function<void()>& launches);

/// What happens on the device before the time begins.
enum class Before : std::uint8_t {
  nothing,  ///< times the host's launches, too
  wait,     ///< what the run before left in the cache stays there
  flush,    ///< the cache is emptied
};

class Stopwatch {
 public:
  /// Memory that a stopwatch takes. Beside a device's L2 that is little.
  static std::size_t bytes(const cudaDeviceProp& device);

  Stopwatch(cudaStream_t stream, const cudaDeviceProp& device);

  /// Empties the cache: overwrites more than it holds, then reads more than it holds of what nobody writes. Without the
  /// second part what is timed next would pay for writing the first part back (about 50 MB, 17 us, on an H100).
  void flush();
  /// From the first launch of `work` until all of it is over.
  double microseconds(Before before, const std::function<void()>& work);
  /// What happens before each time, for a report.
  static std::string describe(const cudaDeviceProp& device, Before before);

 private:
  void keep_busy();

  cudaStream_t stream_;
  std::size_t l2_bytes_;
  Buffer dirty_, clean_;
  Event begin_ = make_event(), end_ = make_event();
  int turn_ = 0;
};

}  // namespace espalier::kernels::cuda
