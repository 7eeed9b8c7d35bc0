#include "viz/explore/errands.h"

#include <exception>
#include <utility>

namespace espalier::viz {

Errands::Errands(std::function<void()> notify)
    : notify_(std::move(notify)), thread_([this](const std::stop_token& stop) { run(stop); }) {}

Errands::~Errands() {
  thread_.request_stop();
  asked_.notify_all();
}

void Errands::ask(Errand errand) {
  {
    const std::scoped_lock lock(mutex_);
    waiting_.push_back(std::move(errand));
  }
  asked_.notify_one();
}

std::vector<Finish> Errands::take() {
  const std::scoped_lock lock(mutex_);
  return std::exchange(done_, {});
}

bool Errands::busy() const {
  const std::scoped_lock lock(mutex_);
  return working_ || !waiting_.empty() || !done_.empty();
}

void Errands::run(const std::stop_token& stop) {
  while (true) {
    Errand errand;
    {
      std::unique_lock lock(mutex_);
      if (!asked_.wait(lock, stop, [&] { return !waiting_.empty(); })) return;
      errand = std::move(waiting_.front());
      waiting_.erase(waiting_.begin());
      working_ = true;
    }
    Finish finish;
    try {
      finish = errand();
    } catch (...) {
      finish = [thrown = std::current_exception()] { std::rethrow_exception(thrown); };
    }
    {
      const std::scoped_lock lock(mutex_);
      if (finish) done_.push_back(std::move(finish));
      working_ = false;
    }
    notify_();
  }
}

}  // namespace espalier::viz
