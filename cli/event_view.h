/* event_view: an event of the cluster in words.
 * Pure. */
#ifndef CLI_EVENT_VIEW_H
#define CLI_EVENT_VIEW_H
#include "proto/wire.h"

#define EVENT_VIEW_TEXT (WIRE_EVENT_TEXT_MAX + WIRE_EVENT_PARTS_MAX * 64 + 8 * WIRE_NAME_MAX + 64)
/* The sentence, what its parts took, and who saw it if several nodes did. */
void event_view_text(const Caravan__CtlEvent *e, char out[EVENT_VIEW_TEXT]);

#endif
