/* What `kernels/blocking.py` says, too. */
#ifndef NNFAST_BLOCKING_H
#define NNFAST_BLOCKING_H

enum { PANEL = 32 }; /* columns of a packed matrix that stand side by side */

#endif
