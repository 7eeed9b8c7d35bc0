// doc_qa: documents, each a root that many short questions read. The star whose dedupe nears the number of questions.
#include "traces/families/building.h"

namespace espalier::traces {
namespace {

PrefixForest generate(const FamilyOptions& options, std::uint64_t seed) {
  const std::int64_t docs = whole_option(options, "docs");
  const std::int64_t questions = whole_option(options, "questions");
  const std::int64_t question = whole_option(options, "question");
  const std::int64_t output = whole_option(options, "output");
  const double median = real_option(options, "document");
  const LengthRange document = {median, real_option(options, "spread"), static_cast<std::int64_t>(median / 2),
                                static_cast<std::int64_t>(median * 6)};
  core::Rng rng(seed);
  ForestSource source;
  for (std::int64_t d = 0; d < docs; ++d) {
    const std::int64_t root = add_node(source, kNoParent, draw_length(rng, document));
    for (std::int64_t q = 0; q < questions; ++q) {
      const std::int64_t asked = draw_uniform(rng, 0.1, question);
      add_tail(source, root, asked + draw_generated(rng, draw_uniform(rng, 0.1, output)));
    }
  }
  return make_forest(source);
}

}  // namespace

Family doc_qa_family() {
  return {"doc_qa",
          "documents, each a root read by many questions; dedupe about the number of questions",
          {{"docs", 4, 1, 256, "documents"},
           {"questions", 12, 1, 1024, "questions to each document"},
           {"document", 20000, 1, kLongestOption, "median document tokens, clipped to half and 6 times of it"},
           {"spread", 0.4, 0, 3, "sigma of the logarithm of document lengths", OptionKind::real},
           {"question", 150, 1, kLongestOption, "longest question; uniform from a tenth of it"},
           {"output", 500, 0, kLongestOption, "longest output; uniform from a tenth of it"}},
          generate};
}

}  // namespace espalier::traces
