/* logprobs: see logprobs.h. */
#include "daemon/text/logprobs.h"
#include "kernels/kernels.h"
#include "kernels/math.h"
#include <stdlib.h>
#include <string.h>

/* The places of the `top` greatest logits, the lowest id first among equals.  For nearly all logits, the comparison with the
 * last place is all the work. */
static uint32_t logprobs_select(struct logprob *list, const float *logits, uint32_t n, uint32_t top) {
	uint32_t found = 0;
	for (uint32_t i = 0; i < n; i++) {
		if (found == top && !(logits[i] > list[top - 1].value))
			continue;
		uint32_t at = found < top ? found++ : top - 1;
		for (; at > 0 && logits[i] > list[at - 1].value; at--)
			list[at] = list[at - 1];
		list[at] = (struct logprob){i, logits[i]};
	}
	return found;
}

static float logprobs_of(float logit, float max, double log_sum) {
	double value = ((double)logit - (double)max) - log_sum;
	return value > (double)LOGPROBS_LEAST ? (float)value : LOGPROBS_LEAST;
}

void logprobs_compute(struct logprobs *out, const float *logits, uint32_t n, uint32_t id, uint32_t top) {
	uint32_t found = logprobs_select(out->list, logits, n, top ? top : 1);
	float max = out->list[0].value;
	double log_sum = kern_log(kern_ops()->exp_sum(logits, n, max));
	out->token = logprobs_of(logits[id], max, log_sum);
	out->top = top ? found : 0;
	for (uint32_t i = 0; i < out->top; i++)
		out->list[i].value = logprobs_of(out->list[i].value, max, log_sum);
}

struct token_logprobs *token_logprobs_copy(const struct token_logprobs *t) {
	size_t bytes = t->token.len;
	for (uint32_t i = 0; i < t->ntop; i++)
		bytes += t->top[i].len;
	struct token_logprobs *copy = malloc(sizeof *copy + t->ntop * sizeof *t->top + bytes);
	if (!copy)
		return NULL;
	struct token_logprob *top = (struct token_logprob *)(copy + 1);
	char *text = (char *)(top + t->ntop);
	*copy = *t;
	copy->top = top;
	for (uint32_t i = 0; i <= t->ntop; i++) {
		struct token_logprob *one = i == 0 ? &copy->token : &top[i - 1];
		if (i > 0)
			*one = t->top[i - 1];
		if (one->len)
			memcpy(text, one->text, one->len);
		one->text = text;
		text += one->len;
	}
	return copy;
}
